namespace halve { void placeholder_dispatch(); void placeholder_dispatch() {} }
