"""Scripted participants: they know a study's links, its pages and its wire, and nothing of what lies behind."""
