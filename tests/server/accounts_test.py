"""Keys of a running server that somebody else changes: another process with `hadal keys`, an administrator over HTTP."""

import concurrent.futures
import json
import sqlite3
from typing import Any

import support
from support import Reply, Server, ServerTest

ASK = {"prompt": [5, 6, 7], "max_tokens": 2, "ignore_eos": True}
USED = 5  # tokens by such a request
OLD_ROWS = 20_000


class Accounts(ServerTest):
    def setUp(self) -> None:
        super().setUp()
        self.database = self.scratch() / "accounts.db"
        self.admin = self.keys("create", "--name", "operator", "--admin")

    def keys(self, command: str, *args: str) -> str:
        return support.keys(self.database, command, *args)

    def start_server(self) -> Server:
        return self.start("--accounts", self.database).wait()

    def ask(self, server: Server, key: str) -> Reply:
        return server.ask("POST", "/v1/completions", ASK, {"Authorization": f"Bearer {key}"})

    def administer(self, server: Server, path: str, body: Any, key: str = "") -> Reply:
        return server.ask("POST", path, body, {"Authorization": f"Bearer {key or self.admin}"})

    def test_the_command_changes_what_the_next_request_may(self) -> None:
        key = self.keys("create", "--name", "jobs", "--requests-per-minute", "1")
        identity = key.removeprefix("sk-hadal-")[:10]
        server = self.start_server()
        self.assertEqual(self.ask(server, key).status, 200)
        self.assertEqual(self.ask(server, key).status, 429)
        steps = [
            (("--requests-per-minute", "none"), 200),
            (("--tokens-per-minute", str(USED - 1)), 422),  # a request may take more than a minute ever has
            (("--tokens-per-minute", "none", "--monthly-tokens", str(2 * USED)), 429),
            (("--monthly-tokens", str(3 * USED)), 200),
            (("--monthly-tokens", "none", "--model", "another"), 403),
            (("--model", "none"), 200),
        ]
        for options, status in steps:
            self.keys("update", identity, *options)
            self.assertEqual(self.ask(server, key).status, status, options)
        me = {"Authorization": f"Bearer {key}"}
        self.assertEqual(server.ask("GET", "/api/platform/keys", fields=me).status, 403)
        self.keys("update", identity, "--admin")
        self.assertEqual(server.ask("GET", "/api/platform/keys", fields=me).status, 200)
        self.keys("update", identity, "--no-admin")
        self.assertEqual(server.ask("GET", "/api/platform/keys", fields=me).status, 403)

    def test_administrators_change_keys(self) -> None:
        key = self.keys("create", "--name", "jobs", "--requests-per-minute", "1", "--balance", "5")
        identity = key.removeprefix("sk-hadal-")[:10]
        path = f"/api/platform/keys/{identity}/update"
        server = self.start_server()
        (before,) = (row for row in json.loads(self.keys("list", "--json")) if row["id"] == identity)
        self.assertEqual(self.administer(server, path, {}).json(), before)
        change = {"name": "more jobs", "requests_per_minute": None, "monthly_tokens": 1000, "models": ["m"]}
        self.assertEqual(self.administer(server, path, change).json(), before | change)
        self.assertEqual(self.ask(server, key).status, 403)
        back = {"models": None, "monthly_tokens": None, "role": "admin", "expires": 99999999999, "name": None}
        expected = before | {"name": "more jobs", "requests_per_minute": None, "role": "admin", "expires": 99999999999}
        self.assertEqual(self.administer(server, path, back).json(), expected)
        self.assertEqual([self.ask(server, key).status for _ in range(3)], [200, 200, 200])
        self.assertEqual(self.administer(server, path, {"expires": 1}).json()["expires"], 1)
        self.assertEqual(self.ask(server, key).status, 401)
        self.assertEqual(self.administer(server, path, {"expires": None}).status, 200)
        self.assertEqual(self.ask(server, key).status, 200)

    def test_changes_that_are_refused(self) -> None:
        key = self.keys("create", "--name", "jobs")
        identity = key.removeprefix("sk-hadal-")[:10]
        path = f"/api/platform/keys/{identity}"
        server = self.start_server()
        before = self.keys("list", "--json")
        cases = [
            ({"requests_per_minute": 0}, 422),
            ({"requests_per_minute": "5"}, 400),
            ({"monthly_tokens": 2_000_000_000_000}, 422),
            ({"monthly_tokens": 5, "role": "king"}, 422),
            ({"name": ""}, 422),
            ({"models": [5]}, 400),
            ({"balance": "5"}, 422),
            ({"balance": None}, 422),
            ([], 400),
        ]
        for body, status in cases:
            self.assertEqual(self.administer(server, f"{path}/update", body).status, status, body)
        self.assertEqual(self.administer(server, f"{path}/update", {}, key).status, 403)
        self.assertEqual(self.administer(server, f"{path}/update", {}, "sk-nobody").status, 401)
        for wrong in ("/api/platform/keys/nobody/update", path, f"{path}/", f"{path}/frob", f"{path}/a/update"):
            self.assertEqual(self.administer(server, wrong, {}).status, 404, wrong)
        self.assertEqual(self.keys("list", "--json"), before)
        rotated = self.administer(server, f"{path}/rotate", {}).json()["secret"]
        self.assertEqual(self.ask(server, key).status, 401)
        self.assertEqual(self.ask(server, rotated).status, 200)
        self.assertEqual(self.administer(server, f"{path}/revoke", {}).json(), {"id": identity})
        self.assertEqual(self.ask(server, rotated).status, 401)
        for change in ("update", "rotate"):
            self.assertEqual(self.administer(server, f"{path}/{change}", {}).status, 409, change)

    def test_the_ledger_is_pruned_beside_a_server(self) -> None:
        key = self.keys("create", "--name", "jobs", "--balance", "5")
        identity = key.removeprefix("sk-hadal-")[:10]
        with sqlite3.connect(self.database) as db:  # no server runs; from 2024-10-04 on
            db.executemany(
                "INSERT INTO ledger(key_id, request_id, model, created, state, held, held_tokens, hit_price, "
                "miss_price, output_price) VALUES(?, ?, 'm', ?, 1, 0, 0, 0, 0, 0)",
                ((identity, f"old-{i}", 20000 * 86400 + i) for i in range(OLD_ROWS)),
            )
        db.close()
        server = self.start_server()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pruned = pool.submit(self.keys, "prune", "--before", "2025-01-01")
            asked = 0
            while not pruned.done() or asked == 0:
                self.assertEqual(self.ask(server, key).status, 200)
                asked += 1
            self.assertIn(f"{OLD_ROWS} settled requests", pruned.result())
        self.assertEqual(server.stop(), 0)
        with sqlite3.connect(self.database) as db:
            rows = db.execute("SELECT COUNT(*), SUM(state) FROM ledger").fetchone()
            used = db.execute("SELECT SUM(requests), SUM(miss_tokens + hit_tokens + completion_tokens) FROM usage")
            self.assertEqual(rows, (asked, asked))
            self.assertEqual(used.fetchone(), (asked, asked * USED))
        db.close()
