from . import models, wizard
from .hooks import post_load_hook, uninstall_hook
