"""One file a question; its configuration is the file of the same name in conf/experiment."""
