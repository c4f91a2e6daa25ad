module flotilla.dev/testbed/tools

go 1.26
