package main

import (
	"github.com/valyala/fasthttp"
)

// serveFast serves with fasthttp, and returns when it cannot.
func serveFast(address string, a *api) error {
	server := &fasthttp.Server{
		Handler:               a.handleFast,
		MaxRequestBodySize:    bodyBytesMax,
		ReadTimeout:           readTimeout,
		IdleTimeout:           idleTimeout,
		NoDefaultServerHeader: true,
	}
	return server.ListenAndServe(address)
}

func (a *api) handleFast(ctx *fasthttp.RequestCtx) {
	switch {
	case string(ctx.Path()) != path:
		sendFast(ctx, notFound)
	case !ctx.IsPost():
		ctx.Response.Header.Set("Allow", fasthttp.MethodPost)
		sendFast(ctx, methodNotAllowed)
	case !a.knows(ctx.Request.Header.Peek("X-Api-Token")):
		sendFast(ctx, unauthenticated)
	default:
		sendFast(ctx, a.take(ctx.PostBody()))
	}
}

func sendFast(ctx *fasthttp.RequestCtx, answer answer) {
	ctx.SetStatusCode(answer.status)
	ctx.SetContentType(contentType)
	ctx.Response.SetBodyRaw(answer.body)
}
