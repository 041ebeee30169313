def test_try(server, client):
    from tests.protocol.clients import furnish, requests_in, Caller
    import time; t=time.time()
    p=furnish(server, client); print("furnish", time.time()-t)
    c=Caller(server)
    for op, m in requests_in(p).items():
        t=time.time(); a=c.send(op,m); print(op, a.code, a.document if a.code!="OK" else "", round(time.time()-t,3))
    assert 0
