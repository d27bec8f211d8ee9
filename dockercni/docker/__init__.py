"""What does Docker say? Reports container ids to whoever wires it; decides nothing."""
