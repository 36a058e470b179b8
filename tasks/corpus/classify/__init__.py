"""Small classifiers of text (advertisement, toxicity, fluency, ...), trained here from labelled sources."""
