"""What `/metrics` needs beside the metrics: sound files, and one exposition a second for all workers."""
