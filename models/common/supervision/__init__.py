"""Who runs what: the plan, the owner of an instance, the links of this process."""
