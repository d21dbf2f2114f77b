"""How each of the shop's two gunicorns runs; gunicorn reads this file from its working directory."""

workers = 2
threads = 4  # makes gunicorn keep connections alive; its default worker closes after every response

# Longer than `idle` in hedgerow.toml: the side that reuses connections should be the one that gives them up, or a
# request may be written into a connection that the other side is just closing.
keepalive = 30

# Two gunicorns of one user would share the default path of the control socket.
control_socket_disable = True
