"""What pipelines of users import from the official AINode of 2.0.8 and later, written anew for this one.

Only what a model itself can need is here: the pipelines, the model behind them, names and errors.
"""
