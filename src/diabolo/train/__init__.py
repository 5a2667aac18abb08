"""L3: one training loop, its schedule, the engine that runs it, and the closed form it can skip."""
