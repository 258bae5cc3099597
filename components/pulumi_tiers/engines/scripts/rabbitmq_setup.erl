main(_) ->
    started(),
    Wanted = [wanted(string:split(Line, " ", all)) || Line <- lines(os:getenv("WANTED"))],
    New = [Path || {Path, _} <- Wanted],
    Old = remembered(),
    remember(Old ++ (New -- Old)),
    Refused = [Path || {Path, Body} <- Wanted, not made(Path, Body)],
    Left = [Path || Path <- lists:reverse(Old -- New), not gone(Path)],
    remember(New ++ lists:reverse(Left)),
    case Refused of
        [] -> ok;
        _ -> fail("RabbitMQ has refused some of it")
    end.

lines(Text) -> string:lexemes(Text, "\n").

wanted([Path, "password", Variable]) ->
    {Path, ["{\"tags\":\"\",\"password\":", quoted(os:getenv(Variable)), "}"]};
wanted([Path | Body]) -> {Path, lists:join(" ", Body)}.

quoted(Text) -> ["\"", [escaped(Character) || Character <- Text], "\""].

escaped(C) when C =:= $"; C =:= $\\ -> [$\\, C];
escaped(C) when C < 32 -> io_lib:format("\\u~4.16.0b", [C]);
escaped(C) -> unicode:characters_to_binary([C]).

made(Path, Body) ->
    case call(put, Path, Body) of
        {Status, _} when Status div 100 =:= 2 -> true;
        {Status, Said} ->
            io:format(standard_error, "~ts: ~b ~ts~n~ts", [Path, Status, Said, advice(Path, Said)]),
            false
    end.

advice("queues/" ++ _, Said) ->
    case binary:match(Said, <<"inequivalent arg">>) of
        nomatch -> "";
        _ -> "the type of a queue stays: delete it once it is empty, or rename the new one\n"
    end;
advice(_, _) -> "".

gone(Path) ->
    case string:prefix(Path, "vhosts/") of
        nomatch ->
            {Status, Said} = call(delete, Path ++ only(Path), none),
            gone(Path, Status, Said);
        _ -> gone(Path, 0, <<"a virtual host is deleted by hand">>)
    end.

only("queues/" ++ _) -> "?if-empty=true&if-unused=true";
only(_) -> "".

gone(Path, Status, _) when Status div 100 =:= 2; Status =:= 404 ->
    io:format("deleted ~ts~n", [Path]),
    true;
gone(Path, _, Said) ->
    io:format("left ~ts, which is described no more: ~ts~n", [Path, Said]),
    false.

remembered() ->
    {_, Said} = read("global-parameters/tiers"),
    case re:run(Said, "\"value\":\"([^\"]*)\"", [{capture, [1], list}]) of
        {match, [Paths]} -> string:lexemes(Paths, " ");
        nomatch -> []
    end.

remember(Paths) ->
    Body = ["{\"name\":\"tiers\",\"value\":\"", lists:join(" ", Paths), "\"}"],
    true = made("global-parameters/tiers", Body).
