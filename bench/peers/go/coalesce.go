package main

import (
	"net"
	"sync"
)

const coalescedBytesMax = 1 << 20

// coalescingConn gathers what is written while the last write is on its way, or while it is held.
// amqp091-go 1.5 writes each frame by itself, three a message; this makes it one system call for many.
type coalescingConn struct {
	net.Conn

	mu      sync.Mutex
	changed sync.Cond
	buffer  []byte
	held    bool
	err     error
}

func newCoalescingConn(connection net.Conn) *coalescingConn {
	c := &coalescingConn{Conn: connection}
	c.changed.L = &c.mu
	go c.flush()
	return c
}

// Write returns before p is sent; a failure shows at the next Write.
func (c *coalescingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && !c.held && len(c.buffer) > coalescedBytesMax {
		c.changed.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	c.buffer = append(c.buffer, p...)
	if !c.held {
		c.changed.Broadcast()
	}
	return len(p), nil
}

// hold gathers all until release. Who holds bounds what is written meanwhile.
func (c *coalescingConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && len(c.buffer) > coalescedBytesMax {
		c.changed.Wait()
	}
	c.held = true
}

func (c *coalescingConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	c.changed.Broadcast()
}

func (c *coalescingConn) Close() error {
	c.fail(net.ErrClosed)
	return c.Conn.Close()
}

func (c *coalescingConn) flush() {
	var sending []byte
	for {
		c.mu.Lock()
		for c.err == nil && (c.held || len(c.buffer) == 0) {
			c.changed.Wait()
		}
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		sending, c.buffer = c.buffer, sending[:0]
		c.changed.Broadcast()
		c.mu.Unlock()
		if _, err := c.Conn.Write(sending); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *coalescingConn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.changed.Broadcast()
}
