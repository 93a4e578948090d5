"""The power-cut rig: workloads cut at every flash command, booted, judged against an oracle."""
