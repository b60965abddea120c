"""The search for the units that must stay float32."""
