"""Which process runs what: the plan, who owns an instance, and the links of this one."""
