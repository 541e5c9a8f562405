"""Shared by the tests that call the server as its clients do."""

from odoo.tests import HttpCase

from .instance_case import MANAGER, USER, InstanceMixin, RealRequests


class RpcError(Exception):
    """What the server answers instead of a result; ``name`` is the exception's."""

    def __init__(self, error):
        self.name = error["data"]["name"].rpartition(".")[2]
        self.message = error["data"]["message"]
        super().__init__(f"{self.name}: {self.message}")


class RpcCase(RealRequests, InstanceMixin, HttpCase):
    """JSON-RPC calls over HTTP, as one of several kinds of users."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.users = {
            "stranger": cls.make_user("ha-stranger", "base.group_user"),
            "portal": cls.make_user("ha-portal", "base.group_portal"),
            "user": cls.make_user("ha-user-1", USER),
            "manager": cls.make_user("ha-manager", MANAGER),
            "admin": cls.env.ref("base.user_admin"),
        }

    def login(self, who):
        self.authenticate(self.users[who].login, self.users[who].login)

    def post(self, path, params):
        """The result of one request, or :class:`RpcError`."""
        self.env.flush_all()
        answer = self.opener.post(
            f"{self.base_url()}{path}", json=self.build_rpc_payload(params)
        ).json()
        self.env.invalidate_all()
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer.get("result")

    def rpc(self, model, method, *args, **kwargs):
        """Call a method as the user who is logged in."""
        params = {"model": model, "method": method, "args": args, "kwargs": kwargs}
        return self.post(f"/web/dataset/call_kw/{model}/{method}", params)

    def json_rpc(self, who, model, method, *args, **kwargs):
        """Call a method over the external API, with login and password."""
        user = self.users[who]
        arguments = [self.env.cr.dbname, user.id, user.login]
        return self.post(
            "/jsonrpc",
            {
                "service": "object",
                "method": "execute_kw",
                "args": [*arguments, model, method, args, kwargs],
            },
        )

    def assertRefused(self, call, *args, error="AccessError", **kwargs):
        """The call fails with this exception; return its message."""
        with self.assertRaises(RpcError) as caught:
            result = call(*args, **kwargs)
            self.fail(f"{args} {kwargs} answered {result!r}")
        names = error if isinstance(error, tuple) else (error,)
        self.assertIn(caught.exception.name, names, caught.exception.message)
        return caught.exception.message
