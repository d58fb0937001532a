"""The response to an event holds the time of its second."""

from ingest.http.direct.response import QueuedResponse


def test_response_has_the_time_of_its_second() -> None:
    response = QueuedResponse()
    for second in 0, 1, 1:
        response.renew(second)
        date = f"date: Thu, 01 Jan 1970 00:00:0{second} GMT\r\n".encode()

        assert date in response.keep_alive
        assert date in response.close
