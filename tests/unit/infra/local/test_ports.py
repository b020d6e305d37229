import socket

from infra.local.ports import accepts, choose_port, is_free


def test_the_preferred_port_is_chosen_while_it_is_free():
    port = choose_port()
    assert choose_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert accepts(port)
        assert choose_port(port) != port
    assert not accepts(port)


def test_a_port_that_is_spoken_for_is_not_chosen():
    port = choose_port()
    assert choose_port(port, taken=frozenset({port})) != port
