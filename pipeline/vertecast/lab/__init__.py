"""Where models are made and judged: simulated patients, training, evaluation. Nothing that analyses imports it."""
