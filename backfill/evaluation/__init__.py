"""A classifier measured on mail whose owner has labelled it: labels, judging, agreement."""
