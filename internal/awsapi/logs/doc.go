// Package logs is the wire of the part of the Amazon CloudWatch Logs API that
// Hearth serves: structures, codecs, checks and the table of operations. It is
// generated from AWS's model; see ../gen. Its conventions are those of package lambda.
package logs
