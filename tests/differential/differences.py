"""What differs from RabbitMQ 3.10 and why: for each dialogue the lines that differ (`-` RabbitMQ's, `+` Crossdock's).

A row whose dialogue is equal, or differs otherwise, fails as a difference without a row does. `run.py --record` prints
rows for what is not explained yet. Where Crossdock follows RabbitMQ 4.x (docs/protocols/amqp091.md), the reason says so.
"""

DIFFERENCES = {}


def because(why, rows):
    """Rows for one reason."""
    for name, lines in rows.items():
        assert name not in DIFFERENCES, f"{name} has two reasons"
        DIFFERENCES[name] = (" ".join(why.split()), *lines)


because(
    """The same code, in other words: RabbitMQ shows terms of Erlang there (or, for a login, points to its log); what
    is refused and how is the same.""",
    {
        "bindings.headers_bogus_match": (
            '- channel.close 406 PRECONDITION_FAILED - Invalid x-match field value <<"bogus">>; expected all, any, all-with-x, or any-with-x (50, 20)',
            '+ channel.close 406 PRECONDITION_FAILED - Invalid x-match field value "bogus"; expected all, any, all-with-x, any-with-x (50, 20)',
        ),
        "connection.wrong_password": (
            '- connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile. (0, 0)',
            '+ connection.close 403 ACCESS_REFUSED - login was refused (mechanism PLAIN) (10, 11)',
        ),
        "connection.unknown_user": (
            '- connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile. (0, 0)',
            '+ connection.close 403 ACCESS_REFUSED - login was refused (mechanism PLAIN) (10, 11)',
        ),
        "connection.empty_password": (
            '- connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile. (0, 0)',
            '+ connection.close 403 ACCESS_REFUSED - login was refused (mechanism PLAIN) (10, 11)',
        ),
        "connection.amqplain_with_a_wrong_password": (
            '- connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN. For details see the broker logfile. (0, 0)',
            '+ connection.close 403 ACCESS_REFUSED - login was refused (mechanism AMQPLAIN) (10, 11)',
        ),
        "connection.vhost_that_is_not_there": (
            '- connection.close 530 NOT_ALLOWED - vhost nowhere not found (10, 40)',
            "+ connection.close 530 NOT_ALLOWED - vhost 'nowhere' not found (10, 40)",
        ),
        "connection.vhost_with_an_empty_name": (
            '- connection.close 530 NOT_ALLOWED - vhost  not found (10, 40)',
            "+ connection.close 530 NOT_ALLOWED - vhost '' not found (10, 40)",
        ),
        "connection.vhost_that_the_user_may_not_enter": (
            "- connection.close 530 NOT_ALLOWED - access to vhost 'other' refused for user 'bob' (10, 40)",
            "+ connection.close 530 NOT_ALLOWED - user 'bob' may not enter virtual host 'other' (10, 40)",
        ),
        "connection.a_frame_larger_than_frame_max": (
            '- connection.close 501 FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,6000,4088} (0, 0)',
            '+ connection.close 501 FRAME_ERROR - a frame of 6008 octets is over the limit 4096 (0, 0)',
        ),
        "connection.a_frame_without_its_end": (
            '- connection.close 501 FRAME_ERROR - type 1, all octets = <<0,50,0,10,0,0,2,113,50,0,0,0,0,0>>: {invalid_frame_end_marker, 0} (0, 0)',
            '+ connection.close 501 FRAME_ERROR - the end octet of a frame is missing (0, 0)',
        ),
        "connection.a_frame_of_an_unknown_type": (
            '- connection.close 501 FRAME_ERROR - type 9, all octets = <<"abc">>: unknown_frame (0, 0)',
            '+ connection.close 501 FRAME_ERROR - frames of type 9 are not known (0, 0)',
        ),
        "connection.a_body_without_a_publish": (
            '- connection.close 505 UNEXPECTED_FRAME - expected method frame, got non method frame instead (0, 0)',
            '+ connection.close 505 UNEXPECTED_FRAME - a body frame without a header (0, 0)',
        ),
        "connection.a_header_without_a_publish": (
            '- connection.close 505 UNEXPECTED_FRAME - expected method frame, got non method frame instead (0, 0)',
            '+ connection.close 505 UNEXPECTED_FRAME - a content header without a method (0, 0)',
        ),
        "connection.a_method_between_publish_and_header": (
            '- connection.close 505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead (60, 40)',
            '+ connection.close 505 UNEXPECTED_FRAME - a method, where the rest of a content was due (60, 40)',
        ),
        "connection.a_header_of_another_class": (
            '- connection.close 505 UNEXPECTED_FRAME - expected content header for class 60, got one for class 70 instead (60, 40)',
            '+ connection.close 505 UNEXPECTED_FRAME - content of class 70 was not expected (60, 40)',
        ),
        "connection.a_method_on_a_channel_that_is_not_open": (
            "- connection.close 504 CHANNEL_ERROR - expected 'channel.open' (50, 10)",
            '+ connection.close 504 CHANNEL_ERROR - channel 7 is not open (50, 10)',
        ),
        "connection.a_channel_opened_twice": (
            "- connection.close 504 CHANNEL_ERROR - second 'channel.open' seen (20, 10)",
            '+ connection.close 504 CHANNEL_ERROR - channel 1 is open already (20, 10)',
        ),
        "connection.a_connection_method_on_a_channel": (
            '- connection.close 503 COMMAND_INVALID - unimplemented method (10, 40)',
            '+ connection.close 503 COMMAND_INVALID - methods of class connection do not belong on a channel (10, 40)',
        ),
        "connection.a_channel_method_on_channel_0": (
            '- connection.close 504 CHANNEL_ERROR - unexpected method in connection state running (50, 10)',
            '+ connection.close 504 CHANNEL_ERROR - method 10 of class 50 on channel 0 (50, 10)',
        ),
        "connection.open_sent_twice": (
            '- connection.close 504 CHANNEL_ERROR - unexpected method in connection state running (10, 40)',
            '+ connection.close 504 CHANNEL_ERROR - method 40 of class 10 on channel 0 (10, 40)',
        ),
        "connection.a_heartbeat_with_a_body": (
            '- connection.close 501 FRAME_ERROR - type 8, all octets = <<"x">>: unknown_frame (0, 0)',
            '+ connection.close 501 FRAME_ERROR - a heartbeat is empty and on channel 0 (0, 0)',
        ),
        "connection.a_user_declares_what_he_may_not": (
            "- channel.close 403 ACCESS_REFUSED - access to queue 'his' in vhost '/' refused for user 'bob' (50, 10)",
            "- channel.close 403 ACCESS_REFUSED - access to exchange 'his' in vhost '/' refused for user 'bob' (40, 10)",
            "- channel.close 403 ACCESS_REFUSED - access to exchange 'elsewhere' in vhost '/' refused for user 'bob' (50, 10)",
            "+ channel.close 403 ACCESS_REFUSED - configure queue:his is not allowed for user 'bob' (50, 10)",
            "+ channel.close 403 ACCESS_REFUSED - configure exchange:his is not allowed for user 'bob' (40, 10)",
            "+ channel.close 403 ACCESS_REFUSED - write to exchange:elsewhere is not allowed for user 'bob' (50, 10)",
        ),
        "connection.a_user_reads_what_he_may_not": (
            "- channel.close 403 ACCESS_REFUSED - access to queue 'hers' in vhost '/' refused for user 'bob' (60, 70)",
            "- channel.close 403 ACCESS_REFUSED - access to queue 'hers' in vhost '/' refused for user 'bob' (60, 20)",
            "- channel.close 403 ACCESS_REFUSED - access to queue 'hers' in vhost '/' refused for user 'bob' (50, 30)",
            "+ channel.close 403 ACCESS_REFUSED - read from queue:hers is not allowed for user 'bob' (60, 70)",
            "+ channel.close 403 ACCESS_REFUSED - read from queue:hers is not allowed for user 'bob' (60, 20)",
            "+ channel.close 403 ACCESS_REFUSED - read from queue:hers is not allowed for user 'bob' (50, 30)",
        ),
        "connection.a_user_deletes_what_he_may_not": (
            "- channel.close 403 ACCESS_REFUSED - access to queue 'hers' in vhost '/' refused for user 'bob' (50, 40)",
            "+ channel.close 403 ACCESS_REFUSED - configure queue:hers is not allowed for user 'bob' (50, 40)",
        ),
        "connection.a_user_binds_what_he_may_not": (
            "- channel.close 403 ACCESS_REFUSED - access to exchange 'hers' in vhost '/' refused for user 'bob' (50, 20)",
            "- channel.close 403 ACCESS_REFUSED - access to exchange 'amq.direct' in vhost '/' refused for user 'bob' (50, 20)",
            "+ channel.close 403 ACCESS_REFUSED - read from exchange:hers/k is not allowed for user 'bob' (50, 20)",
            "+ channel.close 403 ACCESS_REFUSED - read from exchange:amq.direct/k is not allowed for user 'bob' (50, 20)",
        ),
        "connection.a_user_publishes_where_he_may_not": (
            "- channel.close 403 ACCESS_REFUSED - access to exchange 'hers' in vhost '/' refused for user 'bob' (60, 40)",
            "+ channel.close 403 ACCESS_REFUSED - write to exchange:hers/k is not allowed for user 'bob' (60, 40)",
        ),
        "consume.a_tag_that_is_taken": (
            "- connection.close 530 NOT_ALLOWED - attempt to reuse consumer tag 'same' (60, 20)",
            "+ connection.close 530 NOT_ALLOWED - consumer tag 'same' is in use (60, 20)",
        ),
        "consume.priority_as_text": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-priority\' for queue \'q\' in vhost \'/\': "expected integer, got longstr" (60, 20)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': expected integer, got longstr (60, 20)",
        ),
        "declare.an_empty_name_without_a_declared_queue": (
            '- channel.close 404 NOT_FOUND - no previously declared queue (50, 20)',
            '- channel.close 404 NOT_FOUND - no previously declared queue (60, 70)',
            '- channel.close 404 NOT_FOUND - no previously declared queue (60, 20)',
            '- channel.close 404 NOT_FOUND - no previously declared queue (50, 30)',
            '+ channel.close 404 NOT_FOUND - no queue was declared on this channel (50, 20)',
            '+ channel.close 404 NOT_FOUND - no queue was declared on this channel (60, 70)',
            '+ channel.close 404 NOT_FOUND - no queue was declared on this channel (60, 20)',
            '+ channel.close 404 NOT_FOUND - no queue was declared on this channel (50, 30)',
        ),
        "declare.an_empty_exchange_type": (
            "- connection.close 503 COMMAND_INVALID - invalid exchange type '' (40, 10)",
            "+ connection.close 503 COMMAND_INVALID - unknown exchange type '' (40, 10)",
        ),
        "declare.argument_ttl_below_zero": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': -1 is below 0 (50, 10)",
        ),
        "declare.argument_ttl_as_text": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-message-ttl\' for queue \'q\' in vhost \'/\': "expected integer, got longstr" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': expected integer, got longstr (50, 10)",
        ),
        "declare.argument_ttl_as_float": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-message-ttl\' for queue \'q\' in vhost \'/\': "expected integer, got double" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': expected integer, got double (50, 10)",
        ),
        "declare.argument_ttl_too_long": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_too_large,1099511627776} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': 1099511627776 ms is too long: 315360000000 at most (50, 10)",
        ),
        "declare.argument_expires_of_zero": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in vhost '/': 0 is no time: 1 or more (50, 10)",
        ),
        "declare.argument_expires_below_zero": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in vhost '/': {value_negative,-5} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in vhost '/': -5 is below 0 (50, 10)",
        ),
        "declare.argument_expires_as_text": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-expires\' for queue \'q\' in vhost \'/\': "expected integer, got longstr" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in vhost '/': expected integer, got longstr (50, 10)",
        ),
        "declare.argument_max_length_below_zero": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'q' in vhost '/': {value_negative,-1} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'q' in vhost '/': -1 is below 0 (50, 10)",
        ),
        "declare.argument_max_length_as_text": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-max-length\' for queue \'q\' in vhost \'/\': "expected integer, got longstr" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'q' in vhost '/': expected integer, got longstr (50, 10)",
        ),
        "declare.argument_max_length_bytes_below_zero": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-length-bytes' for queue 'q' in vhost '/': {value_negative,-1} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-length-bytes' for queue 'q' in vhost '/': -1 is below 0 (50, 10)",
        ),
        "declare.argument_max_priority_of_256": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/': {max_value_exceeded,256} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/': 255 at most (50, 10)",
        ),
        "declare.argument_max_priority_below_zero": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/': {value_negative,-1} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/': -1 is below 0 (50, 10)",
        ),
        "declare.argument_max_priority_as_text": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-max-priority\' for queue \'q\' in vhost \'/\': "expected integer, got longstr" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/': expected integer, got longstr (50, 10)",
        ),
        "declare.argument_overflow_of_none": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'q' in vhost '/': invalid_overflow (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'q' in vhost '/': unknown overflow policy 'bogus' (50, 10)",
        ),
        "declare.argument_overflow_as_number": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'q' in vhost '/': {unacceptable_type,signedint} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'q' in vhost '/': expected longstr, got signedint (50, 10)",
        ),
        "declare.argument_mode_of_none": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-queue-mode\' for queue \'q\' in vhost \'/\': "unsupported queue mode \'bogus\'" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-mode' for queue 'q' in vhost '/': 'bogus' is none of default, lazy (50, 10)",
        ),
        "declare.argument_version_3": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-queue-version\' for queue \'q\' in vhost \'/\': "unsupported queue version \'3\'" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-version' for queue 'q' in vhost '/': unsupported queue version '3' (50, 10)",
        ),
        "declare.argument_version_as_text": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-queue-version\' for queue \'q\' in vhost \'/\': "expected integer, got longstr" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-version' for queue 'q' in vhost '/': expected integer, got longstr (50, 10)",
        ),
        "declare.argument_type_of_none": (
            '- channel.close 406 PRECONDITION_FAILED - invalid arg \'x-queue-type\' for queue \'q\' in vhost \'/\': "unsupported queue type \'bogus\'" (50, 10)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q' in vhost '/': unsupported queue type 'bogus' (50, 10)",
        ),
        "declare.argument_type_as_number": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q' in vhost '/': {unacceptable_type,signedint} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q' in vhost '/': expected longstr, got signedint (50, 10)",
        ),
        "declare.argument_dlx_as_number": (
            "- channel.close 406 PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/' (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': expected longstr, got signedint (50, 10)",
        ),
        "declare.argument_dlx_key_without_dlx": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': routing_key_but_no_dlx_defined (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': there is no x-dead-letter-exchange (50, 10)",
        ),
        "declare.argument_dlx_key_as_number": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': {unacceptable_type,signedint} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': expected longstr, got signedint (50, 10)",
        ),
        "declare.argument_single_active_as_text": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue 'q' in vhost '/': {unacceptable_type,longstr} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue 'q' in vhost '/': expected bool, got longstr (50, 10)",
        ),
        "declare.argument_group_size_on_classic": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-quorum-initial-group-size' for queue 'q' in vhost '/' of queue type rabbit_classic_queue (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-quorum-initial-group-size' for queue 'q' in vhost '/' of queue type classic (50, 10)",
        ),
        "declare.argument_strategy_on_classic": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/' of queue type rabbit_classic_queue (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/' of queue type classic (50, 10)",
        ),
        "declare.argument_max_age_on_classic": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type rabbit_classic_queue (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type classic (50, 10)",
        ),
        "declare.argument_max_in_memory_on_classic": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-in-memory-length' for queue 'q' in vhost '/' of queue type rabbit_classic_queue (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-in-memory-length' for queue 'q' in vhost '/' of queue type classic (50, 10)",
        ),
        "declare.argument_quorum_exclusive": (
            "- channel.close 406 PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue 'q' in vhost '/' (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid property 'exclusive' for queue 'q' in vhost '/' (50, 10)",
        ),
        "declare.argument_quorum_max_priority": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/' of queue type quorum (50, 10)",
        ),
        "declare.argument_quorum_lazy": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-mode' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-mode' for queue 'q' in vhost '/' of queue type quorum (50, 10)",
        ),
        "declare.argument_quorum_strategy_of_none": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/': invalid_dlx_strategy (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/': 'bogus' is none of at-most-once, at-least-once (50, 10)",
        ),
        "declare.argument_quorum_group_size_of_0": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-quorum-initial-group-size' for queue 'q' in vhost '/': {value_zero,0} (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-quorum-initial-group-size' for queue 'q' in vhost '/': 0 nodes hold nothing: 1 or more (50, 10)",
        ),
        "declare.argument_quorum_max_age": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type quorum (50, 10)",
        ),
        "publish.delivery_modes": (
            '- channel.close 406 PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,3} (60, 40)',
            '- channel.close 406 PRECONDITION_FAILED - invalid message: {delivery_mode_unknown,0} (60, 40)',
            '+ channel.close 406 PRECONDITION_FAILED - invalid message: unknown delivery mode 3 (60, 40)',
            '+ channel.close 406 PRECONDITION_FAILED - invalid message: unknown delivery mode 0 (60, 40)',
        ),
        "publish.expiration_that_is_no_number": (
            "- channel.close 406 PRECONDITION_FAILED - invalid expiration 'soon': no_integer (60, 40)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid expiration 'soon': no integer (60, 40)",
        ),
        "publish.expiration_below_zero": (
            "- channel.close 406 PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1} (60, 40)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid expiration '-1': it is below 0 (60, 40)",
        ),
        "publish.expiration_with_a_fraction": (
            '- channel.close 406 PRECONDITION_FAILED - invalid expiration \'1.5\': {leftover_string,".5"} (60, 40)',
            "+ channel.close 406 PRECONDITION_FAILED - invalid expiration '1.5': no integer (60, 40)",
        ),
        "publish.expiration_with_blanks": (
            "- channel.close 406 PRECONDITION_FAILED - invalid expiration ' 60000': no_integer (60, 40)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid expiration ' 60000': no integer (60, 40)",
        ),
        "publish.expiration_that_is_empty": (
            "- channel.close 406 PRECONDITION_FAILED - invalid expiration '': no_integer (60, 40)",
            "+ channel.close 406 PRECONDITION_FAILED - invalid expiration '': no integer (60, 40)",
        ),
        "publish.copies_as_text": (
            '- channel.close 406 PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr} (60, 40)',
            '+ channel.close 406 PRECONDITION_FAILED - invalid message: header CC is of type longstr, not an array (60, 40)',
        ),
        "publish.copies_of_another_type": (
            '- channel.close 406 PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"BCC",signedint} (60, 40)',
            '+ channel.close 406 PRECONDITION_FAILED - invalid message: header BCC is of type signedint, not an array (60, 40)',
        ),
    },
)

because(
    "RabbitMQ ends the connection without a word, three seconds later; here the client is told at once what was wrong.",
    {
        "connection.unknown_mechanism": (
            '- connection closed without a word',
            "+ connection.close 503 COMMAND_INVALID - mechanism 'BOGUS' is not one of those offered (10, 11)",
        ),
        "connection.external_without_a_certificate": (
            '- connection closed without a word',
            "+ connection.close 503 COMMAND_INVALID - mechanism 'EXTERNAL' is not one of those offered (10, 11)",
        ),
        "connection.frame_max_below_the_least": (
            '- connection closed without a word',
            '+ connection.close 530 NOT_ALLOWED - frame-max 4095 is below the minimum 4096 (10, 31)',
        ),
        "connection.frame_max_above_what_was_offered": (
            '- connection closed without a word',
            '+ connection.close 530 NOT_ALLOWED - frame-max 131073 is above the limit 131072 (10, 31)',
        ),
        "connection.channel_max_above_what_was_offered": (
            '- connection closed without a word',
            '+ connection.close 530 NOT_ALLOWED - channel-max 65000 is above the limit 2047 (10, 31)',
        ),
        "connection.an_unknown_method": (
            '- connection closed',
            '+ connection.close 503 COMMAND_INVALID - method 99 of class 50 is not served (50, 99)',
        ),
        "connection.an_unknown_class": (
            '- connection closed',
            '+ connection.close 503 COMMAND_INVALID - method 10 of class 77 is not served (77, 10)',
        ),
    },
)

because(
    """0 means no limit of the client's own (AMQP 0-9-1, tune-ok): what was offered counts. RabbitMQ takes it for a number
    that is too high, and ends the connection without a word.""",
    {
        "connection.frame_max_of_none": (
            '- connection closed without a word',
            '- False',
            '+ Connection.OpenOk',
            '+ True',
        ),
        "connection.channel_max_of_none": (
            '- connection closed without a word',
            '+ Connection.OpenOk',
        ),
    },
)

because(
    """The code that the specification names: 502 for arguments that cannot be read, 501 for a frame that cannot be. RabbitMQ
    has another code for it, or lets a body that is too long wait for more.""",
    {
        "connection.a_method_that_ends_too_early": (
            '- connection.close 501 FRAME_ERROR - cannot decode <<0,0,20,97,98,99>> (50, 10)',
            '+ connection.close 502 SYNTAX_ERROR - the arguments of a method could not be read (50, 10)',
        ),
        "connection.a_heartbeat_on_a_channel": (
            '- connection.close 505 UNEXPECTED_FRAME - type 8, all octets = <<>> (0, 0)',
            '+ connection.close 501 FRAME_ERROR - a heartbeat is empty and on channel 0 (0, 0)',
        ),
        "connection.a_body_longer_than_announced": (
            '- still open',
            '+ connection.close 501 FRAME_ERROR - a body of 2 octets got 3 (60, 40)',
        ),
    },
)

because(
    """Only version 0-9-1 is spoken here, and who does not begin with `AMQP` gets no answer; RabbitMQ speaks 0-9, too, and
    answers everybody with its protocol header.""",
    {
        "connection.header_of_0_9": (
            '- Method',
            '+ ProtocolHeader',
        ),
        "connection.header_of_http": (
            '- protocol header 0-9-1',
        ),
    },
)

because(
    """Rights are those to addresses (docs/guide/security.md): a publish by the default exchange is one to a queue, and a
    passive declare, which tells how many messages there are, is a look into it. RabbitMQ has a right to the default exchange as a
    whole, and asks for none to look.""",
    {
        "connection.a_user_does_what_he_may": (
            "- channel.close 403 ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'bob' (60, 40)",
            '+ bob.q has 1',
            '+ Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=bob.q message_count=0 user_id=bob body=mine',
        ),
        "connection.a_user_looks_at_what_he_may_not": (
            '- Queue.DeclareOk queue=hers message_count=0 consumer_count=0',
            "+ channel.close 403 ACCESS_REFUSED - read from queue:hers is not allowed for user 'bob' (50, 10)",
        ),
    },
)

because(
    "channel.flow of the client is served (AMQP 0-9-1 1.5.2.3); RabbitMQ has given it up.",
    {
        "connection.stopping_the_flow": (
            '- connection.close 540 NOT_IMPLEMENTED - active=false (20, 20)',
            '+ Channel.FlowOk active=False',
        ),
        "consume.flow_stops_deliveries": (
            '- connection.close 540 NOT_IMPLEMENTED - active=false (20, 20)',
            '- Close',
            '+ FlowOk',
        ),
    },
)

because(
    """As RabbitMQ 4.x: channels are counted against what was agreed; x-last-death-… is there; x-death of clients is not
    read; classic queues take a leader locator. The version that is compared with is 3.10.""",
    {
        "connection.channel_above_channel_max": (
            '- Queue.DeclareOk queue=q message_count=0 consumer_count=0',
            '+ connection.close 530 NOT_ALLOWED - channel number 6 is above the agreed maximum 5 (20, 10)',
            '+ no channel: Close',
        ),
        "dead_letters.the_last_death": (
            '+   x-last-death-exchange S:',
            '+   x-last-death-queue S:q',
            '+   x-last-death-reason S:rejected',
        ),
        "dead_letters.twice_of_the_same": (
            "-   died count=l:2 exchange=S: queue=S:q reason=S:rejected routing-keys=[S:q] time='T'",
            "+   died count=l:1 exchange=S: queue=S:q reason=S:rejected routing-keys=[S:q] time='T'",
        ),
        "dead_letters.a_client_that_forges_its_deaths": (
            '-   x-first-death-reason S:mine',
            '+   x-first-death-exchange S:',
            '+   x-first-death-queue S:q',
            '+   x-first-death-reason S:rejected',
        ),
        "declare.same_queue_leader_locator": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-queue-leader-locator' for queue 'q' in vhost '/' of queue type rabbit_classic_queue (50, 10)",
            "+ channel.close 406 PRECONDITION_FAILED - inequivalent arg 'x-queue-leader-locator' for queue 'q' in vhost '/': received none but current is the value 'client-local' of type 'longstr' (50, 10)",
        ),
    },
)

because(
    """x-delivery-count is shown for queues of both types once a failure was counted, and never 0; a nack with requeue and a
    channel that was closed in order count nothing (RabbitMQ 4.3 counts in the same way; 3.10 counts on quorum queues only, all
    alike).""",
    {
        "consume.what_a_lost_connection_had_comes_back": (
            '- Basic.GetOk delivery_tag=1 redelivered=True exchange= routing_key=q message_count=2 body=0',
            '- Basic.GetOk delivery_tag=2 redelivered=True exchange= routing_key=q message_count=1 body=1',
            '- Basic.GetOk delivery_tag=3 redelivered=True exchange= routing_key=q message_count=0 body=2',
            '+ Basic.GetOk delivery_tag=1 redelivered=True exchange= routing_key=q message_count=2  headers={x-delivery-count=l:1} body=0',
            '+ Basic.GetOk delivery_tag=2 redelivered=True exchange= routing_key=q message_count=1  headers={x-delivery-count=l:1} body=1',
            '+ Basic.GetOk delivery_tag=3 redelivered=True exchange= routing_key=q message_count=0  headers={x-delivery-count=l:1} body=2',
        ),
        "consume.quorum_consumer": (
            '- Basic.Deliver consumer_tag=c delivery_tag=4 redelivered=True exchange= routing_key=q  headers={x-delivery-count=l:1} body=0',
            '+ Basic.Deliver consumer_tag=c delivery_tag=4 redelivered=True exchange= routing_key=q body=0',
        ),
        "consume.priority_queue_and_requeue": (
            '- Basic.GetOk delivery_tag=3 redelivered=True exchange= routing_key=q message_count=1 priority=1 body=low',
            '+ Basic.GetOk delivery_tag=3 redelivered=True exchange= routing_key=q message_count=1 priority=1 headers={x-delivery-count=l:1} body=low',
        ),
        "dead_letters.delivery_limit": (
            '- Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0  headers={x-delivery-count=l:0} body=m',
            '+ Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0 body=m',
        ),
        "dead_letters.quorum_rejected": (
            '- Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0 message_id=1 headers={x-delivery-count=l:0} body=m',
            '+ Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0 message_id=1 body=m',
        ),
        "dead_letters.quorum_limit_drop_head": (
            '- Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=1  headers={x-delivery-count=l:0} body=3',
            '- Basic.GetOk delivery_tag=2 redelivered=False exchange= routing_key=q message_count=0  headers={x-delivery-count=l:0} body=4',
            '+ Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=1 body=3',
            '+ Basic.GetOk delivery_tag=2 redelivered=False exchange= routing_key=q message_count=0 body=4',
        ),
        "delete.a_purge_leaves_what_is_unsettled": (
            '- Basic.GetOk delivery_tag=2 redelivered=True exchange= routing_key=q message_count=0 body=0',
            '+ Basic.GetOk delivery_tag=2 redelivered=True exchange= routing_key=q message_count=0  headers={x-delivery-count=l:1} body=0',
        ),
        "settle.reject_with_requeue": (
            '- Basic.GetOk delivery_tag=5 redelivered=True exchange= routing_key=q message_count=1 body=0',
            '- Basic.GetOk delivery_tag=6 redelivered=True exchange= routing_key=q message_count=0 body=3',
            '+ Basic.GetOk delivery_tag=5 redelivered=True exchange= routing_key=q message_count=1  headers={x-delivery-count=l:1} body=0',
            '+ Basic.GetOk delivery_tag=6 redelivered=True exchange= routing_key=q message_count=0  headers={x-delivery-count=l:1} body=3',
        ),
        "settle.quorum_delivery_count": (
            '- Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0  headers={x-delivery-count=l:0} body=0',
            '+ Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0 body=0',
        ),
        "settle.quorum_delivery_limit": (
            '- Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0  headers={x-delivery-count=l:0} body=0',
            '+ Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0 body=0',
        ),
        "settle.quorum_ack_multiple": (
            '- Basic.GetOk delivery_tag=1 redelivered=True exchange= routing_key=q message_count=0  headers={x-delivery-count=l:1} body=3',
            '+ Basic.GetOk delivery_tag=1 redelivered=True exchange= routing_key=q message_count=0 body=3',
        ),
    },
)

because(
    "A delivery limit may be asked for on queues of both types.",
    {
        "declare.argument_delivery_limit_on_classic": (
            "- channel.close 406 PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of queue type rabbit_classic_queue (50, 10)",
            '+ Queue.DeclareOk queue=q message_count=0 consumer_count=0',
        ),
    },
)

because(
    """A priority queue that is full drops what is least urgent; RabbitMQ drops the most urgent, which it warns of in its
    documentation.""",
    {
        "consume.priority_queue_at_its_limit": (
            '- Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=1 priority=2 body=2',
            '- Basic.GetOk delivery_tag=2 redelivered=False exchange= routing_key=q message_count=0 priority=1 body=1',
            '+ Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=1 priority=5 body=5',
            '+ Basic.GetOk delivery_tag=2 redelivered=False exchange= routing_key=q message_count=0 priority=3 body=3',
        ),
    },
)

because(
    "A transaction is all or nothing, over all queues; RabbitMQ keeps what there was room for.",
    {
        "dead_letters.limit_reject_publish_in_a_transaction": (
            '- channel.close 406 PRECONDITION_FAILED - partial tx completion (90, 20)',
            '- Queue.DeclareOk queue=q message_count=1 consumer_count=0',
            "+ channel.close 406 PRECONDITION_FAILED - queue 'q' is full (90, 20)",
            '+ Queue.DeclareOk queue=q message_count=0 consumer_count=0',
        ),
    },
)

because(
    "Headers exchanges compare typed values (docs/SEMANTICS.md, t10): a time is not the number of its seconds.",
    {
        "bindings.headers_types": (
            "- {'a': I:5}: ['0', '2', '3', '6', '7']",
            "+ {'a': I:5}: ['0', '2', '3', '6']",
            "- {'a': l:5}: ['0', '2', '3', '6', '7']",
            "+ {'a': l:5}: ['0', '2', '3', '6']",
            "- {'a': d:5.0}: ['0', '2', '3', '6', '7']",
            "+ {'a': d:5.0}: ['0', '2', '3', '6']",
        ),
    },
)

because(
    """What has expired behind the head is seen when the head is gone, one step later than in RabbitMQ, whose count of the
    messages that are left foresees it.""",
    {
        "publish.an_expired_message_behind_another": (
            '- Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=0 expiration=60000 body=long',
            '+ Basic.GetOk delivery_tag=1 redelivered=False exchange= routing_key=q message_count=1 expiration=60000 body=long',
        ),
    },
)

because(
    """Of a dead letter only the routing key counts, and its CC stays (docs/protocols/amqp091.md); RabbitMQ routes it by the
    keys of CC, too, and takes CC away where the dead-letter key replaces them.""",
    {
        "dead_letters.of_copies": (
            '- Basic.GetOk delivery_tag=2 redelivered=False exchange= routing_key=dead message_count=0 body=m',
            "-   died count=l:1 exchange=S: queue=S:q reason=S:rejected routing-keys=[S:q, S:copy] time='T'",
            '+ Basic.GetOk delivery_tag=2 redelivered=False exchange= routing_key=dead message_count=0  headers={CC=[S:copy]} body=m',
            "+   died count=l:1 exchange=S: queue=S:q reason=S:rejected routing-keys=[S:q] time='T'",
        ),
        "dead_letters.of_copies_with_their_own_keys": (
            '- Queue.DeclareOk queue=dead message_count=1 consumer_count=0',
            '+ Queue.DeclareOk queue=dead message_count=0 consumer_count=0',
        ),
    },
)

because(
    "The order of mechanisms says nothing.",
    {
        "connection.what_start_offers": (
            "- version 0-9 b'AMQPLAIN PLAIN' b'en_US'",
            "+ version 0-9 b'PLAIN AMQPLAIN' b'en_US'",
        ),
    },
)
