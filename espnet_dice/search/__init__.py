"""Joint CTC/attention beam search over many utterances at once; ESPnet's models and scores."""
