"""The lease: who holds an instance, told by PostgreSQL alone."""

import os
import resource
import socket

from odoo.tests import TransactionCase, tagged

from ..models.common.supervision.ownership import CHANNEL, Lease

INSTANCE = 2_000_000_001  # of no record: only its lock matters here


@tagged("post_install", "-at_install")
class TestLease(TransactionCase):
    def lease(self, role="server"):
        lease = Lease(self.env.cr.dbname, role)
        self.addCleanup(lease.close)
        return lease

    def wake_pair(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours, theirs

    def test_one_holder_at_a_time(self):
        first, second = self.lease(), self.lease()
        self.assertTrue(first.try_acquire(INSTANCE))
        self.assertTrue(first.try_acquire(INSTANCE), "ours already")
        self.assertFalse(second.try_acquire(INSTANCE))
        self.assertEqual(second.tick([INSTANCE, INSTANCE + 1])[1], [INSTANCE])
        first.release(INSTANCE)
        self.assertTrue(second.try_acquire(INSTANCE))

    def test_a_closed_session_gives_everything_free(self):
        first, second = self.lease(), self.lease()
        self.assertTrue(first.try_acquire(INSTANCE))
        first.close()
        ours, _theirs = self.wake_pair()
        for _attempt in range(50):
            if second.try_acquire(INSTANCE):
                break
            second.wait(ours.fileno(), 0.1)
        self.assertIn(INSTANCE, second.held)

    def test_http_workers_count_only_among_themselves(self):
        lease = self.lease("http")
        self.lease("http")
        self.assertEqual(lease.count_supervisors(), 2)
        self.assertFalse(lease.has_better_owner())
        self.lease("cron")
        self.assertEqual(lease.count_supervisors(), 1)
        self.assertTrue(lease.has_better_owner())

    def test_notifications_and_wake_ups_end_the_wait(self):
        lease, other = self.lease(), self.lease()
        ours, theirs = self.wake_pair()
        theirs.send(b"x")
        self.assertEqual(lease.wait(ours.fileno(), 30), set())
        ours.recv(1)
        other.execute("SELECT pg_notify(%s, 'changed')", (CHANNEL,))
        self.assertEqual(lease.wait(ours.fileno(), 30), {"changed"})

    def test_more_descriptors_than_select_can_take(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _number in range(1100):
            self.addCleanup(os.close, os.open(os.devnull, os.O_RDONLY))
        lease = self.lease()
        ours, theirs = self.wake_pair()
        self.assertGreater(ours.fileno(), 1024)
        theirs.send(b"x")
        self.assertEqual(lease.wait(ours.fileno(), 30), set())
