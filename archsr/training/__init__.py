"""Fine-tuning chosen layers: loop, losses, memory, logs."""
