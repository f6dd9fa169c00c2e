"""Neighbours on the machine: folders, keys and stores that another user owns, reads or writes."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import BINARY, DEADLINE, Case, guarded_route, main  # noqa: E402

NEIGHBOUR = 54321
as_root = unittest.skipUnless(os.geteuid() == 0, "skipped by name: only root can give files to another user")


class Files(Case):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ledger-files-")).resolve()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.state, self.store = self.folder / "state", self.folder / "ledger.db"
        self.config = self.folder / "ledger.yaml"
        self.write()

    def write(self, more='routes: [ { match: "POST https://api.example.test/**" } ]'):
        self.config.write_text("listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }\nstore: sqlite:ledger.db\nstate: state\n" + more + "\n")

    def command(self, *words, **popen):
        return subprocess.run([BINARY, words[0], "-c", str(self.config), *words[1:]], cwd=self.folder, capture_output=True, text=True,
                              timeout=DEADLINE, **popen)

    def make_ca(self):
        made = self.command("ca", "show")
        self.assertEqual(made.returncode, 0, made.stderr)
        return self.state / "ca-key.pem"

    def assert_refused(self, *says, words=(("serve",), ("run", "--", "true"), ("ca", "show"))):
        for command in words:
            # One that starts all the same is found by the time-out.
            told = self.command(*command)
            self.assertEqual(told.returncode, 1, (command, told.stderr))
            line = told.stderr.splitlines()[-1]
            for word in says:
                self.assertIn(word, line)


class State(Files):
    def test_a_state_folder_that_others_may_write_is_refused_and_nothing_is_put_there(self):
        for mode in (0o777, 0o770, 0o702, 0o1777, 0o2775):
            self.state.mkdir()
            self.state.chmod(mode)
            self.assert_refused(str(self.state), "can be written by others", "chmod 700")
            self.assertEqual(list(self.state.iterdir()), [])
            self.state.rmdir()

    def test_one_that_others_may_only_read_is_taken(self):
        self.state.mkdir(mode=0o755)
        self.make_ca()

    def test_a_new_one_is_0700_and_its_files_ours_whatever_the_umask(self):
        subprocess.run([BINARY, "ca", "show", "-c", str(self.config)], cwd=self.folder, check=True, capture_output=True, umask=0)
        self.assertEqual((self.state.stat().st_mode & 0o777, (self.state / "ca-key.pem").stat().st_mode & 0o777), (0o700, 0o600))

    def test_no_folder_at_all_is_told(self):
        self.state.write_text("")
        self.assert_refused("is no directory")

    @as_root
    def test_one_of_another_user_is_refused(self):
        self.state.mkdir(mode=0o700)
        os.chown(self.state, NEIGHBOUR, NEIGHBOUR)
        self.assert_refused(str(self.state), f"belongs to another user (uid {NEIGHBOUR})", "chown")
        self.assertEqual(list(self.state.iterdir()), [])

    @as_root
    def test_a_link_that_another_user_made_is_refused(self):
        (self.folder / "mine").mkdir(mode=0o700)
        self.state.symlink_to("mine")
        self.make_ca()
        os.lchown(self.state, NEIGHBOUR, NEIGHBOUR)
        self.assert_refused("belongs to another user")


class Key(Files):
    def test_a_key_that_others_can_read_or_write_is_refused(self):
        key = self.make_ca()
        for mode, how in ((0o644, "read"), (0o640, "read"), (0o622, "written")):
            key.chmod(mode)
            self.assert_refused(str(key), f"can be {how} by others", "ledger ca rotate")
        self.assertEqual(self.command("ca", "rotate").returncode, 0)
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)

    @as_root
    def test_a_key_of_another_user_is_refused_and_a_rotation_makes_one_of_ours(self):
        key = self.make_ca()
        os.chown(key, NEIGHBOUR, NEIGHBOUR)
        self.assert_refused(str(key), f"belongs to another user (uid {NEIGHBOUR})", "ledger ca rotate")
        self.assertEqual(self.command("ca", "rotate").returncode, 0)
        self.assertEqual(key.stat().st_uid, os.geteuid())

    @as_root
    def test_a_certificate_that_another_user_could_change_is_made_anew(self):
        self.make_ca()
        file = self.state / "ca.pem"
        before = file.read_text()
        os.chown(file, NEIGHBOUR, NEIGHBOUR)
        self.make_ca()
        self.assertEqual((file.read_text(), file.stat().st_uid), (before, os.geteuid()))
        file.chmod(0o666)
        self.make_ca()
        self.assertEqual(file.stat().st_mode & 0o777, 0o644)

    def test_the_key_of_ones_own_ca_may_not_be_written_by_others(self):
        own = self.certificates()
        self.write(f'tls: {{ ca: "{own.ca}", ca_key: "{own.directory}/ca.key" }}')
        self.make_ca()
        (own.directory / "ca.key").chmod(0o620)
        self.assert_refused("can be written by others")
        (own.directory / "ca.key").chmod(0o600)
        if os.geteuid() == 0:
            os.chown(own.directory / "ca.key", NEIGHBOUR, NEIGHBOUR)
            self.assert_refused("belongs to another user")


class Store(Files):
    SUFFIXES = ("", "-wal", "-shm", ".owners")

    def started(self, **more):
        self.up = self.upstream()
        ledger = self.ledger(guarded_route(self.up), directory=self.folder, **more)
        self.assertEqual(ledger.charge(self.up).ledger, "executed")
        return ledger

    def modes(self):
        return {suffix: (self.folder / f"ledger.db{suffix}").stat().st_mode & 0o777 for suffix in self.SUFFIXES}

    def test_the_stores_files_are_0600_whatever_the_umask(self):
        self.started(umask=0)
        self.assertEqual(set(self.modes().values()), {0o600}, self.modes())

    def test_wider_ones_are_tightened_with_a_line_for_each(self):
        ledger = self.started()
        ledger.kill()  # its log and index stay
        for suffix in self.SUFFIXES:
            (self.folder / f"ledger.db{suffix}").chmod(0o644)
        ledger.start()
        self.assertEqual(set(self.modes().values()), {0o600}, self.modes())
        log = (self.folder / "log").read_text()
        for suffix in self.SUFFIXES:
            self.assertIn(f"ledger.db{suffix} could be used by others (mode 0644): made 0600", log)
        self.assertEqual(ledger.charge(self.up).ledger, "replayed")
        ledger.restart()
        self.assertEqual((self.folder / "log").read_text().count("made 0600"), len(self.SUFFIXES))

    def test_who_only_looks_tightens_them_too_and_says_so(self):
        self.started().stop()
        self.store.chmod(0o666)
        seen = self.command("log")
        self.assertEqual((seen.returncode, self.store.stat().st_mode & 0o777), (0, 0o600))
        self.assertIn("(mode 0666): made 0600", seen.stderr)
        self.assertEqual(self.command("log").stderr, "")

    @as_root
    def test_a_store_or_a_log_that_another_user_has_put_there_is_refused_by_a_proxy(self):
        self.started().stop()
        for suffix in self.SUFFIXES:
            file = self.folder / f"ledger.db{suffix}"
            file.touch()
            os.chown(file, NEIGHBOUR, NEIGHBOUR)
            self.assert_refused(file.name, f"belongs to another user (uid {NEIGHBOUR})", "chown", words=(("serve",), ("run", "--", "true")))
            os.chown(file, os.geteuid(), os.getegid())
        # Root may look at a user's store, which stays the user's.
        os.chown(self.store, NEIGHBOUR, NEIGHBOUR)
        self.assertEqual(self.command("log").returncode, 0)
        self.assertEqual(self.store.stat().st_uid, NEIGHBOUR)

    @as_root
    def test_a_link_that_another_user_made_is_refused_and_ones_own_is_followed(self):
        self.started().stop()
        self.store.rename(self.folder / "real.db")
        for suffix in self.SUFFIXES[1:]:
            (self.folder / f"ledger.db{suffix}").unlink(missing_ok=True)
        self.store.symlink_to("real.db")
        self.assertIn("attempts 1", self.command("log").stdout)
        self.assertEqual(self.command("run", "--", "true").returncode, 0)
        os.lchown(self.store, NEIGHBOUR, NEIGHBOUR)
        self.assert_refused("belongs to another user", words=(("serve",), ("run", "--", "true")))

    def test_a_link_in_the_lock_files_place_is_not_followed(self):
        victim = self.folder / "victim"
        (self.folder / "ledger.db.owners").symlink_to(victim)
        self.assert_refused("ledger.db.owners", words=(("serve",),))
        self.assertFalse(victim.exists())


if __name__ == "__main__":
    main()
