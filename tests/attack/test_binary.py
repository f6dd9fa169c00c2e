"""The program as it was built: a mistake of ours in memory is to end it, not to serve somebody."""
import pathlib
import platform
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import BINARY, SANITIZED, main  # noqa: E402


def readelf(*options):
    return subprocess.run(["readelf", "-W", *options, BINARY], capture_output=True, text=True, check=True).stdout


@unittest.skipIf(SANITIZED, "skipped by name: a sanitized build is not the released one")
class Binary(unittest.TestCase):
    def test_it_is_position_independent(self):
        self.assertRegex(readelf("-h"), r"Type:\s+DYN")
        self.assertRegex(readelf("-d"), r"\(FLAGS_1\).*\bPIE\b")

    def test_what_the_linker_filled_in_is_read_only(self):
        self.assertIn("GNU_RELRO", readelf("-l"))
        self.assertTrue(re.search(r"\(FLAGS(_1)?\).*\b(BIND_)?NOW\b", readelf("-d")), "not bound at once")

    def test_nothing_is_writable_and_executable(self):
        segments = re.findall(r"^  (GNU_STACK|LOAD)\s+(?:0x\w+\s+){5}([RWE ]{3})", readelf("-l"), re.MULTILINE)
        self.assertIn("GNU_STACK", [kind for kind, _ in segments])
        for kind, flags in segments:
            self.assertFalse("W" in flags and "E" in flags, (kind, flags))
            self.assertFalse(kind == "GNU_STACK" and "E" in flags)

    def test_stacks_strings_and_containers_are_checked(self):
        called = set(re.findall(r"UND (\w+)", readelf("--dyn-syms")))
        self.assertTrue("__stack_chk_fail" in called, "no stack protector")
        self.assertTrue([name for name in called if re.fullmatch(r"__\w+_chk", name)], "no _FORTIFY_SOURCE")
        self.assertTrue([name for name in called if "__glibcxx_assert_fail" in name], "no _GLIBCXX_ASSERTIONS")

    @unittest.skipUnless(platform.machine() in ("x86_64", "AMD64"), "skipped by name: another processor")
    def test_indirect_calls_land_where_they_may(self):
        endbr64 = bytes.fromhex("f30f1efa")
        self.assertGreater(pathlib.Path(BINARY).read_bytes().count(endbr64), 1000)


if __name__ == "__main__":
    main()
