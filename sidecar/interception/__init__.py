"""Ports and users → the nftables rules that lead a pod's traffic to the recorder."""
