"""Token errors: a quarter of all requests have no token, or a wrong one."""

from random import choice

from locust import task

from bench.harness.events import step
from bench.scenarios.base import TOKEN, TelephonyServer, new_call

WRONG = {
    "no token": None,
    "an empty token": "",
    "another token": "not-" + TOKEN,
    "the beginning of the token": TOKEN[:-1],
    "the token and more": TOKEN + "x",
}
UNAUTHENTICATED = 401


class StrangeServer(TelephonyServer):
    scenario = "tokens"

    @task
    def make_call(self) -> None:
        self.call()

    @task
    def post_with_bad_token(self) -> None:
        what, token = choice(list(WRONG.items()))
        self.post(f"refused: {what}", step(new_call(), "call_started"), UNAUTHENTICATED, token)
