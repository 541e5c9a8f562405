from . import models, wizard
from .hooks import post_init_hook, post_load_hook, uninstall_hook
