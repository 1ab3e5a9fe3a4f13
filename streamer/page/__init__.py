"""The page an operator looks at: verdicts, pictures and heat maps as they come, kept for days."""
