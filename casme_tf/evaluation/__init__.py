"""What predictions on unseen subjects are worth: folds, metrics, comparison, reports."""
