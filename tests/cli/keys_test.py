"""keys: accounts as the person at the terminal sees them. What a server does with them is hadal_serve_test's."""
import csv
import io
import json
import re
import sqlite3
import stat
import time

from support import CliTest, Result

KEY = r"sk-hadal-([0-9A-Za-z]{10})[0-9A-Za-z]{32}\n"
OPTIONS = {
    "create": {
        *("--name", "--admin", "--model", "--requests-per-minute", "--tokens-per-minute", "--concurrent-requests"),
        *("--monthly-tokens", "--balance", "--expires-in"),
    },
    "update": {
        *("--name", "--admin", "--model", "--requests-per-minute", "--tokens-per-minute", "--concurrent-requests"),
        *("--monthly-tokens", "--expires-in"),
    },
    "list": {"--json"},
    "revoke": set(),
    "rotate": set(),
    "topup": {"--granted"},
    "usage": {"--from", "--to", "--key", "--model", "--csv", "--json"},
    "prune": {"--before"},
    "prices": {"--set", "--remove", "--currency", "--json"},
}


class Keys(CliTest):
    def keys(self, command: str, *args: str) -> Result:
        return self.ok("keys", command, "--db", self.folder / "a.db", *args)

    def create(self, *args: str) -> str:
        """The new key's id."""
        result = self.keys("create", "--name", "somebody", *args)
        match = re.fullmatch(KEY, result.out)
        assert match is not None, result.out
        self.assertIn(match[1], result.err)
        self.assertNotIn(result.out.strip(), result.err)
        return match[1]

    def rows(self) -> list[dict]:
        return json.loads(self.keys("list", "--json").out)

    def test_options(self) -> None:
        for command, options in OPTIONS.items():
            out = self.ok("keys", command, "--help").out
            listed = set(re.findall(r"^ +(?:-\w,)?(--[a-z0-9-]+)", out, re.MULTILINE))
            self.assertEqual(listed, options | {"--help", "--db"}, command)

    def test_a_key_with_everything(self) -> None:
        before = int(time.time())
        identity = self.create(
            *("--admin", "--model", "a", "--model", "b", "--requests-per-minute", "60", "--tokens-per-minute", "100000"),
            *("--concurrent-requests", "4", "--monthly-tokens", "1000000", "--balance", "10.5", "--expires-in", "30"),
        )
        (row,) = self.rows()
        self.assertLessEqual(before, row["created"])
        self.assertEqual(row["expires"], row["created"] + 30 * 86400)
        self.assertEqual(
            {k: v for k, v in row.items() if k not in ("created", "expires")},
            {
                "id": identity,
                "name": "somebody",
                "role": "admin",
                "models": ["a", "b"],
                "requests_per_minute": 60,
                "tokens_per_minute": 100000,
                "concurrent_requests": 4,
                "monthly_tokens": 1000000,
                "balance": "10.50",
                "granted": "0.00",
                "revoked": None,
            },
        )
        text = self.keys("list").out
        for part in (identity, "somebody", "admin", "until 20", "10.50", "60 requests/min", "4 at once", "only a, b"):
            self.assertIn(part, text)

    def test_a_key_without_limits(self) -> None:
        self.create()
        (row,) = self.rows()
        self.assertEqual((row["role"], row["models"], row["balance"], row["expires"]), ("user", [], None, None))
        self.assertIsNone(row["requests_per_minute"])
        self.assertIn("unlimited", self.keys("list").out)

    def test_update(self) -> None:
        identity = self.create("--model", "a", "--requests-per-minute", "60", "--expires-in", "30", "--balance", "10.5")
        (before,) = self.rows()
        self.assertEqual(self.keys("update", identity, "--tokens-per-minute", "1000", "--name", "else").out, "")
        expected = before | {"tokens_per_minute": 1000, "name": "else"}
        self.assertEqual(self.rows(), [expected])
        self.keys("update", identity, "--admin", "--model", "b", "--model", "c", "--requests-per-minute", "none")
        expected |= {"role": "admin", "models": ["b", "c"], "requests_per_minute": None}
        self.assertEqual(self.rows(), [expected])
        self.keys("update", identity, "--no-admin", "--model", "none", "--expires-in", "none")
        expected |= {"role": "user", "models": [], "expires": None}
        self.assertEqual(self.rows(), [expected])
        now = int(time.time())
        self.keys("update", identity, "--expires-in", "2", "--concurrent-requests", "3", "--monthly-tokens", "4")
        (row,) = self.rows()
        self.assertLessEqual(now + 2 * 86400, row["expires"])
        self.assertLess(row["expires"], now + 3 * 86400)
        self.assertEqual(row, expected | {"concurrent_requests": 3, "monthly_tokens": 4, "expires": row["expires"]})
        self.keys("revoke", identity)
        db = ("--db", self.folder / "a.db")
        self.failure("keys", "update", *db, identity, "--name", "x", says=[identity, "revoked"])
        self.failure("keys", "update", *db, "nobody", "--name", "x", says=["nobody", "a.db"])

    def test_a_limit_of_none_is_no_limit(self) -> None:
        self.create()
        options = ("--requests-per-minute", "--tokens-per-minute", "--concurrent-requests", "--monthly-tokens")
        self.create(*(part for option in (*options, "--expires-in", "--model") for part in (option, "none")))
        first, second = ({k: v for k, v in row.items() if k not in ("id", "created")} for row in self.rows())
        self.assertEqual(first, second)

    def test_prune(self) -> None:
        identity = self.create("--balance", "1")
        with sqlite3.connect(self.folder / "a.db") as db:  # no server runs; 20000 is 2024-10-04
            for day, second, state in ((19999, 0, 1), (20000, 0, 0), (20000, 86399, 2), (20001, 0, 1)):
                db.execute(
                    "INSERT INTO ledger(key_id, request_id, model, created, state, held, held_tokens, hit_price, "
                    "miss_price, output_price) VALUES(?, ?, 'm', ?, ?, 0, 0, 0, 0, 0)",
                    (identity, f"{day}-{second}", day * 86400 + second, state),
                )
                db.execute("INSERT OR IGNORE INTO usage VALUES(?, ?, 'm', 2, 64, 36, 50, 1250000)", (identity, day))
        db.close()
        before = self.keys("usage", "--json").out, self.keys("list", "--json").out
        self.assertRegex(self.keys("prune", "--before", "2024-10-03").out, "^0 settled requests")
        self.assertRegex(self.keys("prune", "--before", "2024-10-05").out, "^2 settled requests")
        self.assertEqual((self.keys("usage", "--json").out, self.keys("list", "--json").out), before)
        with sqlite3.connect(self.folder / "a.db") as db:
            left = db.execute("SELECT request_id FROM ledger ORDER BY id").fetchall()
        db.close()
        self.assertEqual(left, [("20000-0",), ("20001-0",)])  # the open one, and the one of the day itself

    def test_the_secret_is_in_no_file(self) -> None:
        key = self.keys("create", "--name", "x").out.strip()
        new = self.keys("rotate", key[9:19]).out.strip()
        self.assertRegex(new + "\n", KEY)
        self.assertNotEqual(key, new)
        self.assertEqual(key[:19], new[:19])
        for file in self.folder.iterdir():
            content = file.read_bytes()
            self.assertNotIn(key[19:].encode(), content)
            self.assertNotIn(new[19:].encode(), content)
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600, file)

    def test_revoke(self) -> None:
        identity = self.create()
        self.assertEqual(self.keys("revoke", identity).out, "")
        self.assertIn("revoked", self.keys("list").out)
        self.assertIsInstance(self.rows()[0]["revoked"], int)
        self.failure("keys", "rotate", "--db", self.folder / "a.db", identity, says=[identity, "revoked"])

    def test_topup(self) -> None:
        identity = self.create("--balance", "0")
        self.keys("topup", identity, "100")
        self.keys("topup", identity, "0.000001", "--granted")
        (row,) = self.rows()
        self.assertEqual((row["balance"], row["granted"]), ("100.000001", "0.000001"))
        unlimited = self.create()
        self.failure("keys", "topup", "--db", self.folder / "a.db", unlimited, "1", says=["no balance"])

    def test_prices(self) -> None:
        free = {"cache_hit": "0.00", "cache_miss": "0.00", "output": "0.00"}
        first = json.loads(self.keys("prices", "--json").out)
        self.assertEqual(first, {"currency": "USD", "prices": {"*": free}})
        self.keys("prices", "--set", "deepseek-chat", "0.07", "0.27", "1.10", "--currency", "CNY")
        chat = {"cache_hit": "0.07", "cache_miss": "0.27", "output": "1.10"}
        second = json.loads(self.keys("prices", "--json").out)
        self.assertEqual(second, {"currency": "CNY", "prices": {"*": free, "deepseek-chat": chat}})
        self.assertRegex(self.keys("prices").out, r"(?m)^deepseek-chat +0\.07 +0\.27 +1\.10$")
        self.assertEqual(self.keys("prices", "--remove", "deepseek-chat").out.count("\n"), 2)
        self.failure("keys", "prices", "--db", self.folder / "a.db", "--remove", "x", says=["x", "no price"])

    def test_usage(self) -> None:
        identity = self.create()
        with sqlite3.connect(self.folder / "a.db") as db:  # no server runs; 20000 is 2024-10-04
            for day in (20000, 20001):
                db.execute("INSERT INTO usage VALUES(?, ?, 'deepseek-chat', 2, 64, 36, 50, 1250000)", (identity, day))
        db.close()
        rows = json.loads(self.keys("usage", "--json").out)
        self.assertEqual([row["day"] for row in rows], ["2024-10-04", "2024-10-05"])
        self.assertEqual(
            rows[0],
            {
                "day": "2024-10-04",
                "key": identity,
                "name": "somebody",
                "model": "deepseek-chat",
                "requests": 2,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
                "completion_tokens": 50,
                "cost": "1.25",
            },
        )
        table = list(csv.DictReader(io.StringIO(self.keys("usage", "--csv", "--from", "2024-10-05").out)))
        self.assertEqual(len(table), 1)
        expected = {k: str(v) for k, v in rows[1].items()} | {"currency": "USD"}
        self.assertEqual(table[0], expected)
        self.assertEqual(json.loads(self.keys("usage", "--json", "--to", "2024-10-03").out), [])
        self.assertEqual(json.loads(self.keys("usage", "--json", "--model", "x").out), [])
        self.assertEqual(len(json.loads(self.keys("usage", "--json", "--key", identity).out)), 2)
        self.assertRegex(self.keys("usage").out, rf"2024-10-04 +{identity} +somebody +deepseek-chat +2 +64 +36 +50 +1\.25\n")

    def test_default_place(self) -> None:
        home = {"HOME": str(self.folder)}
        self.ok("keys", "create", "--name", "x", env=home)
        self.assertTrue((self.folder / ".local/share/hadal/accounts.db").is_file())
        self.ok("keys", "create", "--name", "x", env=home | {"XDG_DATA_HOME": str(self.folder / "data")})
        self.assertTrue((self.folder / "data/hadal/accounts.db").is_file())
        self.usage_error("keys", "list", env={"HOME": None}, says=["--db"])

    def test_wrong_command_lines(self) -> None:
        db = ("--db", str(self.folder / "a.db"))
        self.usage_error("keys", says=["keys --help"])
        self.usage_error("keys", "frob", says=["frob"])
        self.usage_error("keys", "create", *db, says=["--name"])
        self.usage_error("keys", "revoke", *db, says=["id"])
        self.usage_error("keys", "create", *db, "--name", "", says=["name"])
        for flag in ("--requests-per-minute", "--tokens-per-minute", "--concurrent-requests", "--monthly-tokens"):
            for value in ("0", "-1", "x", "1e13", "1.5"):
                self.usage_error("keys", "create", *db, "--name", "x", f"{flag}={value}", says=[flag])
                self.usage_error("keys", "update", *db, "x", f"{flag}={value}", says=[flag])
        for value in ("0", "36501", "x", "1.5", ""):
            self.usage_error("keys", "create", *db, "--name", "x", f"--expires-in={value}", says=["--expires-in"])
        self.usage_error("keys", "create", *db, "--name", "x", "--model", "none", "--model", "a", says=["--model"])
        self.usage_error("keys", "update", *db, "x", says=["what changes"])
        self.usage_error("keys", "update", *db, "--name", "x", says=["id"])
        self.usage_error("keys", "update", *db, "x", "--balance", "5", says=["--balance"])
        self.usage_error("keys", "update", *db, self.create(), "--name", "", says=["name"])
        self.usage_error("keys", "prune", *db, says=["--before"])
        for value in ("", "x", "2025-02-30", "90d"):
            self.usage_error("keys", "prune", *db, "--before", value, says=["--before"])
        for value in ("-1", "x", "1e3", "0.0000001", "10000000000"):
            self.usage_error("keys", "create", *db, "--name", "x", f"--balance={value}", says=["--balance"])
        self.usage_error("keys", "usage", *db, "--from", "2025-02-30", says=["--from"])
        self.usage_error("keys", "usage", *db, "--csv", "--json", says=["--csv"])
        self.usage_error("keys", "prices", *db, "--set", "m", "1", "2", "x", says=["--set"])
        self.failure("keys", "revoke", *db, "nobody", says=["nobody", "a.db"])

    def test_what_cannot_be_opened(self) -> None:
        text = self.write("text.db", "x" * 5000)
        self.failure("keys", "list", "--db", text, says=["text.db", "not a database"])
        self.failure("keys", "list", "--db", self.folder / "no" / "a.db", says=["no/a.db"])


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
