"""The classifiers: each judges one mail at a time, with two scores or an error that says what to do."""
