"""/openapi.json tells the truth: requests made by it are answered as it says. Needs schemathesis."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest

import support
from support import ServerTest

# One path of each handler, some 50 drawn requests where there is a body. Long: all paths, the ends of all ranges, more.
SHORT = ["--max-examples", "50", "--phases", "examples,fuzzing"]
SHORT += ["--exclude-path-regex", "^/(beta|chat|completions|models|get_|v1/(tokenize|detokenize|health))"]
LONG = ["--max-examples", "100", "--phases", "examples,coverage,fuzzing"]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


class OpenApiTest(ServerTest):
    flags = ("--max-body-bytes", "65536")

    def test_every_route_is_there_with_its_fields(self) -> None:
        document = self.server.get("/openapi.json")
        self.assertEqual(document["openapi"], "3.1.0")
        for path in (
            "/v1/chat/completions",
            "/beta/completions",
            "/generate",
            "/v1/models/{name}",
            "/metrics",
            "/api/status",
            "/openapi.json",
        ):
            self.assertIn(path, document["paths"])
        chat = document["paths"]["/v1/chat/completions"]["post"]
        schema = chat["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(
            schema["properties"]["temperature"],
            {
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": 100,
                "description": "0: always the most probable token",
            },
        )
        self.assertEqual(schema["required"], ["messages"])
        self.assertEqual(chat["security"], [])
        # Every reference leads somewhere.
        text = json.dumps(document)
        for name in set(part.split('"')[0] for part in text.split("#/components/schemas/")[1:]):
            self.assertIn(name, document["components"]["schemas"])

    def test_every_route_of_the_program_is_described(self) -> None:
        source = (support.ROOT / "hadal" / "serve" / "routes.cc").read_text(encoding="utf-8")
        table = source.split("kRoutes[] = {")[1].split("};")[0]
        lines = [line for line in table.splitlines() if '"' in line and "web_page" not in line]  # pages are no API
        paths = {line.split('"')[1].replace("/*", "/{name}") for line in lines}
        self.assertEqual(paths, set(self.server.get("/openapi.json")["paths"]))

    def test_keys(self) -> None:
        server = self.start("--api-key", "k").wait()
        paths = server.get("/openapi.json")["paths"]
        self.assertEqual(paths["/v1/models"]["get"]["security"], [{"bearer": []}, {"key": []}])
        self.assertIn("401", paths["/v1/models"]["get"]["responses"])
        self.assertEqual(paths["/health"]["get"]["security"], [])
        self.assertEqual(paths["/metrics"]["get"]["security"], [{"bearer": []}, {"key": []}])

    @unittest.skipUnless(importlib.util.find_spec("schemathesis"), "schemathesis is not installed")
    def test_what_schemathesis_finds(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "schemathesis.cli",
                    "run",
                    f"{self.server.url}/openapi.json",
                    "--checks",
                    CHECKS,
                    "--request-timeout",
                    "60",
                    "--seed",
                    "1",
                    *(LONG if support.long else SHORT),
                    "--generation-database",
                    "none",
                    "--no-color",
                ],
                capture_output=True,
                text=True,
                cwd=folder,
                timeout=3600,
                env={**os.environ, "NO_PROXY": "*"},
            )
        self.assertEqual(done.returncode, 0, done.stdout[-20000:] + done.stderr[-2000:])
