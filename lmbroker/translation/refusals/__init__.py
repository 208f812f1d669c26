"""What backends say when they refuse a request or fail: bodies, sentences and their meaning."""
