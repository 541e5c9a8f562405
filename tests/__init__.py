from . import test_lifecycle, test_supervision_prefork
