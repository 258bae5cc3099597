#!/usr/bin/env escript
%%! +fnu
read(Path) -> call(get, Path, none).

call(Method, Path, Body) ->
    Url = os:getenv("API") ++ Path,
    Who = [os:getenv("ADMIN"), ":", os:getenv("ADMIN_PASSWORD")],
    Basic = binary_to_list(base64:encode(unicode:characters_to_binary(Who))),
    Headers = [{"authorization", "Basic " ++ Basic}],
    Request = case Body of
        none -> {Url, Headers};
        _ -> {Url, Headers, "application/json", iolist_to_binary(Body)}
    end,
    Patience = [{timeout, 60000}, {connect_timeout, 5000}, {autoredirect, false}],
    case httpc:request(Method, Request, Patience, [{body_format, binary}]) of
        {ok, {{_, Status, _}, _, Said}} -> {Status, Said};
        {error, _} -> {0, <<"no answer">>}
    end.

started() ->
    {ok, _} = application:ensure_all_started(inets),
    started(120).

started(Seconds) ->
    case read("whoami") of
        {200, _} -> ok;
        {401, _} ->
            fail("RabbitMQ refuses the admin's password: it has that from when its volume was new");
        {_, Said} when Seconds =:= 0 -> fail(["RabbitMQ's management does not answer: ", Said]);
        _ -> timer:sleep(1000), started(Seconds - 1)
    end.

fail(Why) ->
    io:format(standard_error, "~ts~n", [Why]),
    halt(1).
