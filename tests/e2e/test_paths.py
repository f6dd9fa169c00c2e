"""Where a config's files lie: the same, wherever it is used from."""
import os
import pathlib
import shutil
import subprocess
import tempfile

from harness import BINARY, Case, guarded_route, main


class Paths(Case):
    def folder(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ledger-paths-")).resolve()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def command(self, *words, cwd, stdin="", **environment):
        # A proxy of the user's own would be another one.
        clean = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper() and "CERT" not in k and "CA_" not in k and k != "NODE_OPTIONS"}
        return subprocess.run([BINARY, *map(str, words)], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=60,
                              env={**clean, **environment})

    def test_one_config_used_from_two_folders_is_one_store_and_one_effect(self):
        up = self.upstream()
        first, second = self.folder(), self.folder()
        ledger = self.ledger(guarded_route(up), store="sqlite:ledger.db", cwd=first)
        self.assertEqual(ledger.charge(up).ledger, "executed")
        ledger.popen["cwd"] = second
        ledger.restart()
        self.assertEqual((ledger.charge(up).ledger, up.effects), ("replayed", 1))
        for word in ("log", "show", "stats"):
            seen = self.command(word, "-c", os.path.relpath(ledger.file, first), cwd=first)
            self.assertEqual((seen.returncode, seen.stderr), (0, ""))
            self.assertIn("charge", seen.stdout)
        self.assertTrue((ledger.directory / "ledger.db").exists())
        self.assertEqual((list(first.iterdir()), list(second.iterdir())), ([], []))

    def test_a_config_that_names_no_store_has_it_beside_itself(self):
        up, home, elsewhere = self.upstream(), self.folder(), self.folder()
        config = home / "ledger.yaml"
        config.write_text(f"listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\n{guarded_route(up)}\n")
        for cwd in (home, elsewhere):
            done = self.command("run", "-c", config, "--", "python3", "-c", CHARGE, up.url, cwd=cwd, HOME=str(home))
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(up.effects, 1)
        self.assertTrue((home / "ledger.db").exists())
        self.assertEqual(list(elsewhere.iterdir()), [])

    def test_state_and_certificates_are_taken_from_the_configs_folder(self):
        certificates, elsewhere = self.certificates(), self.folder()
        folder = certificates.directory
        (folder / "ledger.yaml").write_text("state: here/state\ntls: { roots: [ca.pem] }\n")
        self.assertEqual(self.command("check", "-c", folder / "ledger.yaml", cwd=elsewhere).returncode, 0)
        path = self.command("ca", "path", "-c", folder / "ledger.yaml", cwd=elsewhere)
        self.assertEqual(path.stdout, f"{folder}/here/state/ca.pem\n")
        (folder / "ledger.yaml").write_text("tls: { ca: ca.pem, ca_key: ca.key }\n")
        self.assertEqual(self.command("ca", "path", "-c", folder / "ledger.yaml", cwd=elsewhere).stdout, f"{folder}/ca.pem\n")
        self.assertEqual(list(elsewhere.iterdir()), [])

    def test_a_link_to_a_config_means_the_links_folder(self):
        home, elsewhere = self.folder(), self.folder()
        (home / "real.yaml").write_text("state: state\n")
        (elsewhere / "ledger.yaml").symlink_to(home / "real.yaml")
        self.assertEqual(self.command("ca", "path", "-c", elsewhere / "ledger.yaml", cwd="/").stdout, f"{elsewhere}/state/ca.pem\n")

    def test_without_a_config_the_store_lies_in_state_and_two_folders_are_one_effect(self):
        up, home = self.upstream(), self.folder()
        state = home / ".local/state/ledger"
        told = self.command("log", cwd=home, HOME=str(home))
        self.assertEqual(told.returncode, 1)
        self.assertIn(f"there is no store {state}/ledger.db", told.stderr)
        folders = [self.folder(), self.folder()]
        for folder in folders:
            done = self.command("run", "--", "python3", "-c", CHARGE, up.url, cwd=folder, HOME=str(home))
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((up.effects, [list(f.iterdir()) for f in folders]), (1, [[], []]))
        self.assertEqual((state.stat().st_mode & 0o777, (state / "ledger.db").stat().st_mode & 0o777), (0o700, 0o600))
        self.assertIn("attempts 2", self.command("log", cwd=folders[0], HOME=str(home)).stdout)

    def test_a_relative_path_in_a_config_that_has_no_folder_is_refused(self):
        folder = self.folder()
        for line in ("store: sqlite:ledger.db", "state: state"):
            told = self.command("check", "-c", "/dev/stdin", cwd=folder, stdin=line + "\n")
            self.assertEqual(told.returncode, 2, told)
            self.assertIn("write an absolute path", told.stderr)
        self.assertEqual(self.command("check", "-c", "/dev/stdin", cwd=folder, stdin='store: "memory:"\n').returncode, 0)


CHARGE = "import sys, urllib.request; print(urllib.request.urlopen(urllib.request.Request(sys.argv[1] + '/v1/charges', data=b'amount=49')).read())"

if __name__ == "__main__":
    main()
