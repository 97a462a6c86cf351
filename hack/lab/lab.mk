# Targets of the lab; the Makefile includes this file. LAB names the lab, NODES says how many nodes `lab-up` makes.
LAB ?= lab
NODES ?= 3
LAB_COMMAND = $(BIN)/python -m lab --name $(LAB)

.PHONY: lab-up
lab-up: venv packages tools ## bring a cluster up in network namespaces (root); LAB=name NODES=3
	@$(LAB_COMMAND) up --nodes $(NODES)

.PHONY: lab-down
lab-down: venv ## take that cluster down, and everything of it
	@$(LAB_COMMAND) down

.PHONY: lab-status
lab-status: venv ## what runs there, and on which addresses
	@$(LAB_COMMAND) status

.PHONY: lab-test
lab-test: venv packages ## test the lab itself (root)
	@$(PYTEST) tests/lab/test_lab_smoke.py
