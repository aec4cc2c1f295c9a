"""What dclust can learn, each as passes: start, wants, summarize, update."""
