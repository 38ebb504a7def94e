"""Figures of answers and of graphs: accuracy, statistics, multiply-adds."""
