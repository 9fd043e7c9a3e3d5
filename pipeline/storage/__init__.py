"""Clients of Azure Storage: sources and renditions, ledger, queues, runs, leased documents."""
