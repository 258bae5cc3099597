main(_) ->
    started(),
    {200, Said} = read("definitions"),
    ok = file:write(standard_io, Said).
