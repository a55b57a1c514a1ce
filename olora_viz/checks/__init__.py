"""What must hold on a machine and its device: a check is a row of the table `CHECKS`."""
