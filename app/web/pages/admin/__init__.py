"""The pages of admins: everything below /admin."""
