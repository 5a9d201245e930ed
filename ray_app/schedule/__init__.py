"""When which job runs: cron expressions and the plan. Pure logic; time is always an argument."""
