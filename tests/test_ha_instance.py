"""Instances: configuration problems, the token and its mask, who hears of changes."""

from cryptography.fernet import Fernet

from odoo import SUPERUSER_ID, api
from odoo.exceptions import ValidationError
from odoo.tests import Form, tagged

from ..models.common.supervision.instance_config import read_instances
from ..models.common.supervision.ownership import CHANNEL
from ..models.ha_instance import TOKEN_MASK
from .instance_case import TOKEN, URL, InstanceCase

URL_PROBLEMS = {
    False: "API URL is empty",
    "   ": "API URL is blank",
    "ha.local:8123": "does not start with http:// or https://",
    "ftp://ha.local": "does not start with http:// or https://",
    "http://": "has no host name",
    "https://:8123/ha": "has no host name",
    "http://ha.local:port": "malformed",
    "http://ha.local:123456": "malformed",
    "http://ha.local:0": "malformed",
    "http://ha .local": "malformed",
    "http://[fe80": "malformed",
    "http://admin:secret@ha.local": "user name or password",
}
TOKEN_PROBLEMS = {
    False: "API Token is empty",
    " \t ": "API Token is blank",
    "  short  ": "API Token is too short (5 characters)",
    "a token with spaces": "contains spaces",
    "tokén-0123456789": "characters that no token has",
}


@tagged("post_install", "-at_install")
class TestConfiguration(InstanceCase):
    def assertIssues(self, instance, *texts):
        lines = (instance.config_issue or "").splitlines()
        self.assertEqual(len(lines), len(texts), lines)
        for line, text in zip(lines, texts, strict=True):
            self.assertIn(text, line)

    def test_each_problem_is_named_separately_and_may_be_saved(self):
        for url, text in URL_PROBLEMS.items():
            with self.subTest(url=url):
                self.assertIssues(self.make_instance(api_url=url), text)
        for token, text in TOKEN_PROBLEMS.items():
            with self.subTest(token=token):
                self.assertIssues(self.make_instance(api_token=token), text)

    def test_all_problems_are_shown_at_once(self):
        instance = self.env["ha.instance"].create({"name": "Nothing yet"})
        self.assertIssues(instance, "API URL is empty", "API Token is empty")
        self.assertEqual(instance.connection_state, "unconfigured")
        instance.api_url = "ha.local"
        instance.api_token = "é"
        self.assertIssues(
            instance, "http:// or https://", "too short", "characters that no token"
        )

    def test_every_problem_comes_with_its_remedy(self):
        instance = self.make_instance(api_url="ha.local:8123")
        self.assertIn("Put http:// or https:// in front", instance.config_issue)

    def test_no_issue_shows_a_secret(self):
        instance = self.make_instance(
            api_url="http://admin:hunter2@ha.local", api_token="s3cr3t!"
        )
        self.assertNotIn("hunter2", instance.config_issue)
        self.assertNotIn("s3cr3t", instance.config_issue)
        # A token pasted into the field of the URL.
        instance.api_url = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJmYWtlIn0.c2lnbmF0dXJl"
        self.assertNotIn("eyJ", instance.config_issue)

    def test_right_values_have_no_issue_and_are_stripped_before_use(self):
        for url in (URL, "https://ha.example.com/ha/", "http://[::1]:8123", "HTTP://x"):
            with self.subTest(url=url):
                instance = self.make_instance(
                    api_url=f"  {url} ", api_token=f"\n{TOKEN} "
                )
                self.assertFalse(instance.config_issue)
                config = instance._link_config()
                self.assertEqual((config.url, config.token), (url, TOKEN))

    def test_form_shows_the_issue_while_typing_and_hides_it_when_right(self):
        form = Form(self.env["ha.instance"])
        form.name = "Typed"
        self.assertIn("API URL is empty", form.config_issue)
        form.api_url = "ha.local"
        self.assertIn("does not start with http", form.config_issue)
        self.assertIn("API Token is empty", form.config_issue)
        form.api_url = URL
        self.assertNotIn("URL", form.config_issue.splitlines()[0].split(".")[0])
        form.api_token = "short"
        self.assertIn("too short", form.config_issue)
        form.api_token = TOKEN
        self.assertFalse(form.config_issue)
        self.assertEqual(form.save()._get_token(), TOKEN)

    def test_form_of_a_saved_instance_knows_its_token(self):
        instance = self.make_instance(api_url=False)
        with Form(instance) as form:
            self.assertEqual(form.api_token, TOKEN_MASK)
            self.assertEqual(len(form.config_issue.splitlines()), 1)
            form.api_url = URL
            self.assertFalse(form.config_issue)
        self.assertEqual(instance._get_token(), TOKEN)

    def test_problems_are_told_in_the_users_language(self):
        self.env["res.lang"]._activate_lang("fr_FR")
        instance = self.make_instance(api_url=False)
        # Without a translation the English text shows, never a bare code.
        text = instance.with_context(lang="fr_FR").config_issue
        self.assertTrue(text)
        self.assertNotIn("url_empty", text)

    def test_filter_says_which_entities_come_in(self):
        instance = self.make_instance()
        other = self.make_instance(name="Other")
        kitchen = self.env["ha.area"].create(
            {"instance_id": instance.id, "name": "Kitchen", "ha_area_id": "kitchen"}
        )
        label = self.env["ha.label"].create(
            {"instance_id": instance.id, "name": "Shown", "ha_label_id": "shown"}
        )
        instance.write(
            {
                "entity_filter": "some",
                "filter_domains": "Light; switch,sensor  fan",
                "filter_area_ids": [(4, kitchen.id)],
                "filter_label_ids": [(4, label.id)],
            }
        )
        configs = self.read_configs()
        accepts = configs[instance.id].entity_filter.accepts
        for domain in ("light", "switch", "sensor", "fan"):
            self.assertTrue(accepts(f"{domain}.x"), domain)
        self.assertFalse(accepts("cover.x"))
        self.assertEqual(configs[instance.id].filter_key[2:], (["kitchen"], ["shown"]))
        self.assertTrue(configs[other.id].entity_filter.accepts_all)

    def test_change_of_the_filter_makes_a_new_link(self):
        instance = self.make_instance()
        before = self.read_configs()[instance.id]
        instance.write({"entity_filter": "some", "filter_domains": "light"})
        after = self.read_configs()[instance.id]
        self.assertNotEqual(before.fingerprint, after.fingerprint)
        # The token is as right or wrong as it was.
        self.assertEqual(before.verdict_fingerprint, after.verdict_fingerprint)

    def read_configs(self):
        self.env.flush_all()

        def execute(query):
            self.env.cr.execute(query)
            return self.env.cr.fetchall()

        return {config.id: config for config in read_instances(execute)}


@tagged("post_install", "-at_install")
class TestToken(InstanceCase):
    def test_token_reads_back_as_a_mask_that_tells_nothing(self):
        short = self.make_instance(api_token="0123456789")
        long = self.make_instance(api_token="x" * 200)
        none = self.make_instance(api_token=False)
        self.assertEqual(short.api_token, TOKEN_MASK)
        self.assertEqual(long.api_token, TOKEN_MASK)
        self.assertFalse(none.api_token)

    def test_writing_the_mask_changes_nothing(self):
        instance = self.make_instance()
        events = instance.event_ids
        instance.write({"api_token": TOKEN_MASK})
        self.assertEqual(instance._get_token(), TOKEN)
        self.assertEqual(instance.event_ids, events)
        instance.write({"name": "Renamed", "api_token": TOKEN_MASK})
        self.assertEqual((instance.name, instance._get_token()), ("Renamed", TOKEN))

    def test_token_can_be_replaced_and_removed(self):
        instance = self.make_instance()
        instance.api_token = "another-token-0123456789"
        self.assertEqual(instance._get_token(), "another-token-0123456789")
        self.assertEqual(instance.api_token, TOKEN_MASK)
        instance.api_token = False
        self.assertEqual(instance._get_token(), "")
        self.assertIn("API Token is empty", instance.config_issue)

    def test_mask_given_to_a_new_instance_is_no_token(self):
        instance = self.make_instance(api_token=TOKEN_MASK)
        self.assertFalse(self.stored_token(instance))
        self.assertIn("API Token is empty", instance.config_issue)

    def test_copy_has_no_token(self):
        copy = self.make_instance().copy()
        self.assertFalse(copy.api_token)
        self.assertFalse(self.stored_token(copy))
        self.assertIn("API Token is empty", copy.config_issue)

    def test_export_and_import_neither_reveal_nor_destroy_the_token(self):
        instance = self.make_instance()
        fields = ["id", "name", "api_url", "api_token"]
        rows = instance.export_data(fields)["datas"]
        self.assertNotIn(TOKEN, str(rows))
        rows[0][1] = "Imported"
        result = self.env["ha.instance"].load(fields, [map(str, rows[0])])
        self.assertEqual(result["ids"], instance.ids, result["messages"])
        self.assertEqual((instance.name, instance._get_token()), ("Imported", TOKEN))

    def test_import_can_bring_in_new_instances_with_token(self):
        result = self.env["ha.instance"].load(
            ["name", "api_url", "api_token"], [["Imported", URL, TOKEN]]
        )
        instance = self.env["ha.instance"].browse(result["ids"])
        self.assertEqual(instance._get_token(), TOKEN)
        self.assertEqual(instance.connection_state, "unsupervised")

    def test_mass_edit_gives_several_instances_one_token(self):
        instances = self.make_instance() + self.make_instance(name="Second")
        instances.write({"api_token": "one-token-for-all-0123"})
        for instance in instances:
            self.assertEqual(instance._get_token(), "one-token-for-all-0123")

    def test_nul_character_is_refused_by_name(self):
        with self.assertRaisesRegex(ValidationError, "NUL character"):
            self.make_instance(api_token="0123456789\0abc")


@tagged("post_install", "-at_install")
class TestEncryption(InstanceCase):
    def setUp(self):
        super().setUp()
        self.key = Fernet.generate_key().decode()

    def test_token_is_encrypted_at_rest_when_the_server_has_a_key(self):
        with self.server_key(self.key):
            instance = self.make_instance()
            stored = self.stored_token(instance)
            self.assertNotIn(TOKEN, stored)
            self.assertNotIn("0123456789", stored)
            self.assertEqual(instance.api_token, TOKEN_MASK)
            self.assertEqual(instance._link_config().token, TOKEN)
            self.assertFalse(instance.config_issue)

    def test_wrong_or_missing_key_is_said_and_loses_nothing(self):
        with self.server_key(self.key):
            instance = self.make_instance()
        stored = self.stored_token(instance)
        for key in (None, Fernet.generate_key().decode(), "not a key"):
            with self.subTest(key=key), self.server_key(key):
                self.assertIn("encrypted with a key", instance.config_issue)
                self.assertIn("ODOO_HA_ADDON_KEY", instance.config_issue)
                self.assertEqual(instance.connection_state, "unconfigured")
                instance.write({"name": "Edited", "api_token": TOKEN_MASK})
                self.assertEqual(self.stored_token(instance), stored)
        with self.server_key(self.key):
            self.assertFalse(instance.config_issue)
            self.assertEqual(instance._get_token(), TOKEN)

    def test_unreadable_token_can_be_entered_again(self):
        with self.server_key(self.key):
            instance = self.make_instance()
        with self.server_key(Fernet.generate_key().decode()):
            instance.api_token = "entered-again-0123456789"
            self.assertFalse(instance.config_issue)
            self.assertEqual(instance._get_token(), "entered-again-0123456789")

    def test_tokens_stored_before_there_was_a_key_still_work(self):
        instance = self.make_instance()
        self.assertEqual(self.stored_token(instance), TOKEN)
        with self.server_key(self.key):
            self.assertEqual(instance._get_token(), TOKEN)
            instance.api_token = TOKEN
            self.assertNotIn(TOKEN, self.stored_token(instance))

    def test_key_that_is_none_is_refused_instead_of_storing_in_clear(self):
        with self.server_key("not a key"):
            with self.assertRaisesRegex(ValidationError, "ODOO_HA_ADDON_KEY"):
                self.make_instance()


@tagged("post_install", "-at_install")
class TestNotification(InstanceCase):
    """Real transactions: PostgreSQL tells the owners at the commit."""

    def setUp(self):
        super().setUp()
        self.listener = self.connect()
        with self.listener.cursor() as cr:
            cr.execute(f'LISTEN "{CHANNEL}"')
        self.real_cr = self.enterContext(self.registry.cursor())
        self.real_env = api.Environment(self.real_cr, SUPERUSER_ID, {})
        self.created = self.real_env["ha.instance"].browse()
        self.addCleanup(self.remove)

    def remove(self):
        with self.registry.cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            env["ha.instance"].browse(self.created.ids).exists().unlink()

    def notifications(self):
        # A round trip: what was sent before has arrived with its answer.
        with self.listener.cursor() as cr:
            cr.execute("SELECT 1")
        self.listener.poll()
        count = len(self.listener.notifies)
        self.listener.notifies.clear()
        return count

    def commit(self):
        self.real_cr.commit()
        return self.notifications()

    def test_owners_hear_of_a_change_at_the_commit_and_never_before(self):
        Instance = self.real_env["ha.instance"]
        instance = Instance.create({"name": "Real", "api_url": URL})
        self.real_env.flush_all()
        self.assertEqual(self.notifications(), 0)
        self.created = instance
        self.assertGreater(self.commit(), 0)
        for values in (
            {"api_token": TOKEN},
            {"api_url": "http://other.example"},
            {"verify_ssl": False},
            {"active": False},
            {"active": True},
            {"entity_filter": "some"},
        ):
            with self.subTest(values=values):
                instance.write(values)
                self.real_env.flush_all()
                self.assertEqual(self.notifications(), 0)
                self.assertGreater(self.commit(), 0)
        instance.unlink()
        self.assertEqual(self.notifications(), 0)
        self.assertGreater(self.commit(), 0)

    def test_change_that_is_rolled_back_is_not_heard_of(self):
        self.real_env["ha.instance"].create({"name": "Real", "api_url": URL})
        self.real_env.flush_all()
        self.real_cr.rollback()
        self.assertEqual(self.notifications(), 0)

    def test_what_does_not_concern_the_link_is_not_heard_of(self):
        instance = self.real_env["ha.instance"].create({"name": "Real"})
        self.created = instance
        self.commit()
        instance.sequence = 5
        self.assertEqual(self.commit(), 0)
